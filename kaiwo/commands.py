"""What the commands do, once their options are read: results on stdout, and an exit code.

``download`` delivers the report, the termination message and the metrics however the run ends, as
``fetch`` does the termination message: an error of its own or a signal's has in them whatever was
settled before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kaiwo import api, config, progress, report
from kaiwo.errors import BugError, KaiwoError, UnfinishedError
from kaiwo.logs import console, early_format, early_level, log_to_stderr, logger
from kaiwo.notices import failure
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.settings import Settings
from kaiwo.signals import Interrupted
from kaiwo.tally import amount, counted, duration

if TYPE_CHECKING:
    from kaiwo.metrics import Metrics

Options = Mapping[str, Any]


def download(config_file: str, options: Options) -> int:
    """Carry out a file, and tell everyone how that ended."""
    _log_early(options)
    settled = report.Settlements()
    destination, metrics = _given(options, "report"), _metrics(_given(options, "metrics_file"))
    try:
        loaded = config.load(config_file, options)
        settings = loaded.settings
        destination, metrics = settings.report, _metrics(settings.metrics_file)
        log_to_stderr(settings.log_level, settings.log_format)
        report.require_folder(destination)
        # A signal may come between them: what is shown is in the report.
        counting: list[Sink] = [settled, metrics] if metrics else [settled]
        done = api.run(loaded, progress.Sinks(*counting, _display(settings)))
    except BaseException as error:  # a signal's, and a panic of Rust's
        done = settled.until(_cause(error))
        if done.items:
            _summarise(done)
        _deliver(done, destination, metrics)
        raise
    _summarise(done)
    _deliver(done, destination, metrics)
    return done.exit_code


def plan(config_file: str, options: Options, *, as_json: bool) -> int:
    """Print what ``download`` would do."""
    _log_early(options)
    loaded = config.load(config_file, options)
    log_to_stderr(loaded.settings.log_level, loaded.settings.log_format)
    decided = api.decide(loaded, progress.QuietSink())
    document = report.plan_as_json(decided)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        for item in document["items"]:
            action = item.get("action", "failed")
            print(f"{action:<9}  {item['bytes']:>15,}  {item['source']} -> {item['target']}")
    for item in decided.missed:
        logger.error("%s", failure(item))
    return report.plan_exit_code(decided)


def fetch(url: str, target: str | None, fields: Options, options: Options) -> int:
    """Fetch a URL, and print where it is."""
    _log_early(options)
    lines_only = early_format(options["log_format"]) == "json"
    settled = report.Settlements()
    sink = progress.Sinks(settled, progress.sink_for("auto", console, lines_only=lines_only))
    try:
        place = api.fetch(url, target, sink=sink, **fields)
    except BaseException as error:  # a signal's, and a panic of Rust's
        report.write_termination_message(settled.until(_cause(error)))
        raise
    report.write_termination_message(settled.until(None))
    print(place)
    return 0


def _log_early(options: Options) -> None:
    """Log as is asked for, before it is known what the file says."""
    log_to_stderr(early_level(options["log_level"]), early_format(options["log_format"]))


def _given(options: Options, name: str) -> str | None:
    """An option, or the environment's, before the file is read; an empty one is none."""
    return options[name] or os.environ.get(f"{config.PREFIX}{name.upper()}") or None


def _metrics(path: str | None) -> Metrics | None:
    if not path:
        return None
    from kaiwo.metrics import Metrics  # noqa: PLC0415 - a run loads what it uses

    return Metrics(path)


def _display(settings: Settings) -> Sink:
    lines_only = settings.log_format == "json"
    return progress.sink_for(settings.progress, console, lines_only=lines_only)


def _cause(error: BaseException) -> KaiwoError:
    """What ended the run, for the report."""
    if isinstance(error, Interrupted):
        return error.error
    if isinstance(error, KaiwoError):
        return error
    return BugError(f"a defect of kaiwo, please report it: {type(error).__name__}")


def _deliver(done: Report, destination: str | None, metrics: Metrics | None) -> None:
    try:
        report.deliver(done, destination)
    except KaiwoError as error:
        done = Report(error.exit_code, done.seconds, done.transferred_bytes, done.items, error)
        raise
    finally:
        if metrics is not None:
            metrics.end(done)


def _summarise(done: Report) -> None:
    size = sum(item.bytes for item in done.items if item.status != "failed")
    numbers = {each: done.count(each) for each in ("downloaded", "resumed", "unchanged")}
    how = ", ".join(
        f"{number} {status}" for status, number in numbers.items() if number or status != "resumed"
    )
    files = counted(sum(numbers.values()), "file")
    logger.info("%s, %s in place (%s) in %s", files, amount(size), how, duration(done.seconds))
    errors = [item.error for item in done.items if item.error is not None]
    if failed := sum(type(error) is not UnfinishedError for error in errors):
        logger.error("%d failed, see above; exit code %d", failed, done.exit_code)
