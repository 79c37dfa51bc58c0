"""The files of a run that are no targets: its configuration, its lock, its report, its metrics.

Each must be another file. Of two that are one, the later one replaces the other, and an object that
gets the name of one is lost, or is read by the next run as that. So two with one path are a fault
of the configuration, and a target with such a path is refused (``planning/conflicts.py``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from kaiwo.config.settings import Settings
from kaiwo.errors import ConfigError
from kaiwo.files.paths import real_path
from kaiwo.files.placement import absolute

_CONFIG, _STDOUT = "the configuration file", "-"


def own_files(settings: Settings, config_file: str, lock_file: str) -> Mapping[str, str]:
    """What each of them is, by its real path; a pipe or a device is none.

    Args:
        settings: of the run.
        config_file: path of the configuration; empty: it is no file.
        lock_file: path of the lock; empty: the run has none.

    Raises:
        ConfigError: there is no home folder or no working directory.
    """
    return {path: what for path, _, what in reversed([*_named(settings, config_file, lock_file)])}


def doubles(settings: Settings, config_file: str, lock_file: str) -> Iterator[tuple[str, str]]:
    """The settings that name a file which is another one already, each with what that is.

    For arguments and errors see ``own_files``.
    """
    first: dict[str, str] = {}
    for path, name, what in _named(settings, config_file, lock_file):
        if first.setdefault(path, what) != what:
            yield name, first[path]


def is_same_file(path: str | None, config_file: str) -> bool:
    """Whether a path that an option gives is that of the configuration; see ``own_files``."""
    if not path or not config_file:
        return False
    with contextlib.suppress(ConfigError):  # there is no home folder: a run will say so
        return _real(path) == _real(config_file)
    return False


def default_lock(config_file: str) -> str:
    """The path of a configuration's lock, where nothing names it."""
    return f"{os.path.splitext(absolute(config_file))[0]}.lock"


def _named(settings: Settings, config_file: str, lock_file: str) -> Iterator[tuple[str, str, str]]:
    """The real path of each, the setting that names it, and what it is."""
    report = settings.report if settings.report != _STDOUT else None
    for name, what, path in (
        ("", _CONFIG, config_file),
        ("lock_file", "the lock file", lock_file),
        ("report", "the report", report),
        ("metrics_file", "the metrics file", settings.metrics_file),
    ):
        if path and (os.path.isfile(path) or not os.path.exists(path)):
            yield _real(path), name, what


def _real(path: str) -> str:
    return real_path(absolute(path), {})
