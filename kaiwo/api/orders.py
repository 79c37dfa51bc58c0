"""From validated tasks to an order: what a run is to do."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.config import variables
from kaiwo.config.document import Document
from kaiwo.config.loader import Config
from kaiwo.config.own_files import default_lock
from kaiwo.config.settings import SHARD, Settings
from kaiwo.engine.request_limit import MOST
from kaiwo.errors import BugError, ConfigError, KaiwoError
from kaiwo.files.placement import absolute
from kaiwo.jobs import Transfer, Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import Shard
from kaiwo.tasks.base import Context, Task

logger = logging.getLogger(__name__)
#: Kubernetes sets the one in the pods of an Indexed Job, and their template the other.
_INDEX, _SHARDS = "JOB_COMPLETION_INDEX", "KAIWO_SHARDS"
_WHY_NOT = {
    "force": "remove the files that are to be fetched again",
    "write_lock": "write the lock with `kaiwo lock`",
    "state_dir": "shards find each other in the folder .kaiwo of the root that they share",
}
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
        config_file: path of the configuration; empty: it is no file.
        lock_file: path of the lock that is followed or written; empty: there is none.
        download_root: absolute path.
        shard: which part of the plan this is; None: all of it.
        again: makes the same order on another machine, below that one's own download root; None:
            it cannot be made there. Picklable, and its text has no secret.
    """

    settings: Settings
    tasks: tuple[Wanted, ...]
    asked: tuple[Want, ...]
    lock_file: str = ""
    config_file: str = ""
    download_root: str = ""
    shard: Shard | None = None
    again: Callable[[str | None], Order] | None = None


class _OfConfig(Struct, frozen=True):
    """Makes the order of a configuration again; its text is that of the configuration."""

    config: Config

    def __call__(self, root: str | None) -> Order:
        """The order, below this download root if one is given."""
        config = self.config
        settings = config.settings.model_copy(update={"locked": False, "write_lock": False})
        if root is not None:
            settings = settings.model_copy(update={"download_root": root})
        return order_of(replace(config, settings=settings))


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
    # Places in the file and its text stay here: values may be secrets.
    again = _OfConfig(replace(config, document=Document(config.document.name, None)))
    return Order(
        settings,
        tasks,
        asked,
        used_lock(config),
        config.document.path,
        config.download_root,
        again=again,
    )


def as_shard(order: Order) -> Order:
    """The order for this process: for its part of the plan, if settings or environment say so.

    Raises:
        ConfigError: that is no part, or other settings exclude it.
    """
    shard = _shard_of(order.settings, os.environ)
    return order if shard is None else replace(order, shard=shard)


def _shard_of(settings: Settings, environ: Mapping[str, str]) -> Shard | None:
    """Which part of the plan a process is to fetch; None: all of it."""
    text = settings.shard
    if text is None and (count := environ.get(_SHARDS)):
        index = environ.get(_INDEX)
        if not index:
            raise ConfigError(
                f"{_SHARDS} is set and {_INDEX} is not: give the pods `completionMode: Indexed`, "
                "or each process --shard I/N"
            )
        text = f"{index}/{count}"
        found = SHARD.fullmatch(text)
        if found is None or int(found[1]) >= int(found[2]):
            raise ConfigError(
                f"{_INDEX}={index} and {_SHARDS}={count} are no shard: {_SHARDS} must be the "
                "number of completions of the Job"
            )
    if text is None:
        return None
    for name in ("force", "write_lock", "state_dir"):
        if getattr(settings, name):
            raise ConfigError(f"{name} and shard exclude each other: {_WHY_NOT[name]}")
    index, _, count = text.partition("/")
    return Shard(int(index), int(count), settings.shard_job or "")


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
    if not config.document.path:
        raise ConfigError("a configuration without a file needs lock_file, the path of its lock")
    return default_lock(config.document.path)


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
