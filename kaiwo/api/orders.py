"""From validated tasks to an order: what a run is to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec import Struct

from kaiwo.config import variables
from kaiwo.config.loader import Config
from kaiwo.config.settings import Settings
from kaiwo.engine.request_limit import MOST
from kaiwo.errors import ConfigError
from kaiwo.jobs import Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.base import Context, Task

logger = logging.getLogger(__name__)
#: A run logs at most this many warnings about its configuration.
MOST_WARNINGS = 10
#: A task, and what it wants.
Wanted = tuple[Task, tuple[Want, ...]]


class Order(Struct, frozen=True):
    """What a run is to do.

    Attributes:
        settings: options of the run.
        tasks: each with what it wants.
        asked: what is listed; some wants of the tasks may be only what another one says
            ``otherwise``.
    """

    settings: Settings
    tasks: tuple[Wanted, ...]
    asked: tuple[Want, ...]


def order_of(config: Config, *, is_run: bool = True) -> Order:
    """Everything that a configuration asks for.

    Args:
        config: see there.
        is_run: the order is for a run, which opens sources and writes targets.

    Raises:
        ConfigError: two files have one target, a secret file cannot be read, or an item cannot be
            placed.
    """
    if is_run:
        config.check_targets()
    variables.warn_of_misspelled()
    _log_warnings(config)
    if is_run:
        config.check_secrets()
    tasks = wanted(config)
    return Order(config.settings, tasks, tuple(want for _, wants in tasks for want in wants))


def _log_warnings(config: Config) -> None:
    """Say what in a configuration is probably not meant as it is written."""
    for warning in config.of_variables[:MOST_WARNINGS]:
        logger.warning("%s", warning)
    if more := len(config.of_variables[MOST_WARNINGS:]):
        logger.warning("and %d more like these: kaiwo validate shows all", more)


def wanted(config: Config) -> tuple[Wanted, ...]:
    """What each task of a configuration wants.

    Raises:
        ConfigError: an item cannot be placed.
    """
    network = NetworkSettings(
        config.settings.stall_timeout, connections=max(MOST, config.settings.max_workers or 0)
    )
    result = []
    for number, task in enumerate(config.tasks):
        named = f" ({task.name})" if task.name else ""

        def where(location: Sequence[str | int], number: int = number, named: str = named) -> str:
            return config.where(number, location) + named

        context = Context(config.download_root, network, config.settings.engine, where)
        try:
            result.append((task, tuple(task.wants(context))))
        except ConfigError as error:
            raise ConfigError(f"{where(())}: {error.message}") from error
    return tuple(result)
