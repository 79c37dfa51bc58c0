"""What the commands do, once their options are parsed: results on stdout, and an exit code.

However a run ends, ``download`` delivers report, termination message and metrics, and ``fetch`` the
termination message. After an error or a signal, they name everything that was settled before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kaiwo import units
from kaiwo.api import run
from kaiwo.api.download import run_and_deliver
from kaiwo.api.fetch import fetch as fetch_url
from kaiwo.cli.logs import console, early_format, early_level, log_to_stderr, logger
from kaiwo.config import loader
from kaiwo.config.settings import Settings, before_file
from kaiwo.errors import UnfinishedError
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.reporting import displays, json_report
from kaiwo.reporting.log_lines import failure
from kaiwo.reporting.outputs import Outputs

Options = Mapping[str, Any]


def download(config_file: str, options: Options) -> int:
    """Carry out a file, and report how the run ended."""
    _log_early(options)

    def display(settings: Settings) -> Sink:
        log_to_stderr(settings.log_level, settings.log_format)
        lines_only = settings.log_format == "json"
        return displays.sink_for(settings.progress, console, lines_only=lines_only)

    early = Outputs(before_file("report", options), before_file("metrics_file", options))
    done = run_and_deliver(
        lambda: loader.load(config_file, options), display, early=early, summarise=_summarise
    )
    return done.exit_code


def plan(config_file: str, options: Options, *, as_json: bool) -> int:
    """Print what ``download`` would do."""
    _log_early(options)
    loaded = loader.load(config_file, options)
    log_to_stderr(loaded.settings.log_level, loaded.settings.log_format)
    decided = run.decide(loaded, displays.QuietSink())
    document = json_report.plan_as_json(decided)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        for item in document["items"]:
            action = item.get("action", "failed")
            print(f"{action:<9}  {item['bytes']:>15,}  {item['source']} -> {item['target']}")
    for item in decided.missed:
        logger.error("%s", failure(item))
    return json_report.plan_exit_code(decided)


def fetch(url: str, target: str | None, fields: Options, options: Options) -> int:
    """Fetch a URL, and print where it is."""
    _log_early(options)
    lines_only = early_format(options["log_format"]) == "json"
    outputs = Outputs()
    sink = displays.Sinks(outputs, displays.sink_for("auto", console, lines_only=lines_only))
    try:
        place = fetch_url(url, target, sink=sink, **fields)
    except BaseException as error:  # a signal's, and a panic of Rust's
        outputs.write(outputs.report(error))
        raise
    outputs.write(outputs.report())
    print(place)
    return 0


def _log_early(options: Options) -> None:
    """Log as option or environment say, before the file is read."""
    log_to_stderr(early_level(options["log_level"]), early_format(options["log_format"]))


def _summarise(done: Report) -> None:
    size = units.size(sum(item.bytes for item in done.items if item.status != "failed"))
    numbers = {each: done.count(each) for each in ("downloaded", "resumed", "unchanged")}
    how = ", ".join(
        f"{number} {status}" for status, number in numbers.items() if number or status != "resumed"
    )
    files = units.count(sum(numbers.values()), "file")
    logger.info("%s, %s in place (%s) in %s", files, size, how, units.duration(done.seconds))
    errors = [item.error for item in done.items if item.error is not None]
    if failed := sum(type(error) is not UnfinishedError for error in errors):
        logger.error("%d failed, see above; exit code %d", failed, done.exit_code)
