"""Faults of configurations: ``kaiwo validate``, and what other commands say of a wrong file.

People get each fault with its line of the file, on stderr and without a timestamp. Collectors of
JSON log lines get one object, and ``kaiwo validate --json`` prints all faults on stdout.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence

from kaiwo import units
from kaiwo.cli import config_file
from kaiwo.cli.logs import is_json, log_if_silent, logger
from kaiwo.config import rendering, variables
from kaiwo.config.diagnostics import Diagnostic, InvalidConfigError, Place
from kaiwo.config.settings import ITEMS
from kaiwo.errors import ConfigError


def validate(paths: Sequence[str], *, as_json: bool) -> int:
    """Check files; no network is used, and no secret file is opened."""
    paths = tuple(dict.fromkeys(paths))
    found = variables.misspelled()
    valid = []
    for path in paths:
        name = config_file.name_of(path)
        try:
            config = config_file.load(path, elsewhere=True)
            config.check_targets()
        except InvalidConfigError as error:
            found += error.diagnostics
        except ConfigError as error:
            found.append(Diagnostic(Place(name), error.message))
        else:
            found += config.warnings()
            tasks = len(config.document.data[ITEMS])
            valid.append(f"{name}: valid, {units.count(tasks, 'task')}")
    found = list(dict.fromkeys(found))  # an error of the environment comes with each file
    has_errors = any(each.severity == "error" for each in found)
    if as_json:
        print(json.dumps(rendering.as_json(found, len(paths)), indent=2))
        return 2 if has_errors else 0
    for line in valid:
        print(line)
    if found:
        log_if_silent()
        if is_json():
            _log(found)
        else:
            _write(f"{_rendered(found)}\n{rendering.counted(found, len(paths))}")
    return 2 if has_errors else 0


def show(error: InvalidConfigError) -> None:
    """Show a file's faults where a command needs the file."""
    if is_json():
        _log(error.diagnostics)
    elif sys.stderr.isatty():
        _write(_rendered(error.diagnostics))
    else:
        logger.error("%s", _rendered(error.diagnostics))


def _rendered(found: Sequence[Diagnostic]) -> str:
    has_colours = os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    return rendering.rendered(found, colour=has_colours and sys.stderr.isatty())


def _write(text: str) -> None:
    sys.stdout.flush()  # the lines above it, where both streams are one terminal
    print(text, file=sys.stderr, flush=True)


def _log(found: Sequence[Diagnostic]) -> None:
    """One log record for all, at the level of the worst."""
    is_error = any(each.severity == "error" for each in found)
    level = logging.ERROR if is_error else logging.WARNING
    logger.log(level, "%s", "\n".join(map(str, found)))
