"""``kaiwo lock`` and ``kaiwo verify``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from kaiwo.api import locking, verification
from kaiwo.api.orders import Order, lock_path, order_of
from kaiwo.cli import results
from kaiwo.cli.logs import console, early_format, early_level, log_to_stderr
from kaiwo.config import loader
from kaiwo.config.loader import Config
from kaiwo.errors import IntegrityError
from kaiwo.reporting import displays, lock_text

Options = Mapping[str, Any]


def lock(
    config_file: str, options: Options, *, check: bool, hashed: bool, as_json: bool = False
) -> int:
    """Write the lock file of a configuration, or compare it with what is there.

    Args:
        config_file: path of the YAML file.
        options: of the run.
        check: compare.
        hashed: read objects whose sha256 is not stated.
        as_json: print what differs for programs.
    """
    order = _order(_loaded(config_file, options))
    sink = displays.QuietSink()
    if not check:
        made = locking.lock(order, sink, hashed=hashed)
        results.show([lock_text.written(made, order.lock_file)])
        return 0
    found = locking.check(order, sink)
    results.show([lock_text.as_json(found)] if as_json else lock_text.lines(found))
    return IntegrityError.exit_code if found.changes else 0


def verify(config_file: str, options: Options, *, as_json: bool) -> int:
    """Hash what is on the disk, and print what is not as it should be.

    Args:
        config_file: path of the YAML file.
        options: of the run.
        as_json: for programs.
    """
    loaded = _loaded(config_file, options)
    settings = loaded.settings
    lines_only = settings.log_format == "json"
    sink = displays.sink_for(settings.progress, console, lines_only=lines_only)
    found = verification.verify(_order(loaded, is_run=False), sink)
    shown = (found.report, found.extra, found.unproven, found.against)
    if as_json:
        results.show([lock_text.verified_as_json(*shown)])
    else:
        results.show(lock_text.verified(*shown))
    return found.report.exit_code


def _loaded(config_file: str, options: Options) -> Config:
    log_to_stderr(early_level(options["log_level"]), early_format(options["log_format"]))
    loaded = loader.load(config_file, options)
    log_to_stderr(loaded.settings.log_level, loaded.settings.log_format)
    return loaded


def _order(config: Config, *, is_run: bool = True) -> Order:
    """What the configuration asks for, whether or not its settings speak of a lock."""
    plain = config.settings.model_copy(update={"locked": False, "write_lock": False})
    order = order_of(replace(config, settings=plain), is_run=is_run)
    return replace(order, lock_file=lock_path(config))
