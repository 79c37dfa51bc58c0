"""From validated tasks to an order: what a run is to do."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.config import variables
from kaiwo.config.loader import Config
from kaiwo.config.settings import Settings
from kaiwo.engine.request_limit import MOST
from kaiwo.errors import BugError, ConfigError, KaiwoError
from kaiwo.files.placement import absolute
from kaiwo.jobs import Transfer, Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.base import Context, Task

logger = logging.getLogger(__name__)
#: A run logs at most this many warnings about its configuration.
MOST_WARNINGS = 10


class Settled(Protocol):
    """What a run asks of a task, beside its wants: see ``Task``, which is one."""

    @property
    def label(self) -> str:
        """For plans and messages."""
        ...

    def require_writable(self, transfers: Sequence[Transfer]) -> None:
        """Refuse targets that cannot be written."""
        ...

    def settle(self, transfers: Sequence[Transfer]) -> None:
        """Do what remains, now that all objects are in place."""
        ...


#: A task, and what it wants.
Wanted = tuple[Settled, tuple[Want, ...]]


class Order(Struct, frozen=True):
    """What a run is to do.

    Attributes:
        settings: options of the run.
        tasks: each with what it wants.
        asked: what is listed; some wants of the tasks may be only what another one says
            ``otherwise``.
        lock_file: path of the lock that is followed or written; empty: there is none.
        download_root: absolute path.
    """

    settings: Settings
    tasks: tuple[Wanted, ...]
    asked: tuple[Want, ...]
    lock_file: str = ""
    download_root: str = ""


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
    settings, tasks = config.settings, wanted(config)
    asked = tuple(want for _, wants in tasks for want in wants)
    return Order(settings, tasks, asked, used_lock(config), config.download_root)


def used_lock(config: Config) -> str:
    """The path of the lock that a run follows or writes; empty where there is none."""
    return lock_path(config) if config.settings.locked or config.settings.write_lock else ""


def lock_path(config: Config) -> str:
    """The path of a configuration's lock file.

    Raises:
        ConfigError: nothing names it.
    """
    settings = config.settings
    require_one_lock(settings)
    if settings.lock_file is not None:
        return absolute(settings.lock_file)
    if not config.document.is_file:
        raise ConfigError("a configuration without a file needs lock_file, the path of its lock")
    return f"{os.path.splitext(absolute(config.document.name))[0]}.lock"


def require_one_lock(settings: Settings) -> None:
    """Refuse options of a lock that exclude each other.

    Raises:
        ConfigError: they do.
    """
    if settings.locked and settings.write_lock:
        raise ConfigError("locked and write_lock exclude each other: use one of them")


def _log_warnings(config: Config) -> None:
    """Say what in a configuration is probably not meant as it is written."""
    for warning in config.of_variables[:MOST_WARNINGS]:
        logger.warning("%s", warning)
    if more := len(config.of_variables[MOST_WARNINGS:]):
        logger.warning("and %d more like these: kaiwo validate shows all", more)


def wanted(config: Config) -> tuple[tuple[Task, tuple[Want, ...]], ...]:
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
            wants = map(task.signed, task.wants(context))
            result.append((task, tuple(replace(each, policy=task.policy) for each in wants)))
        except ConfigError as error:
            raise ConfigError(f"{where(())}: {error.message}") from error
        except KaiwoError:
            raise
        except Exception as error:  # perhaps another package's code
            text = f"{where(())}: task type {task.type!r} fails: unforeseen {type(error).__name__}"
            raise BugError(text) from error
    return tuple(result)
