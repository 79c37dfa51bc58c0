"""What the commands do, once their options are parsed: results on stdout, and an exit code.

However a run ends, report, termination message and metrics are delivered. After an error or a
signal, they name everything that was settled before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaiwo import environment, redact, units
from kaiwo.api import run
from kaiwo.api.download import PreparedT, run_and_deliver
from kaiwo.api.fetch_fields import OF_COMMAND
from kaiwo.api.fetch_order import FetchOrder, Goal, order_of_urls
from kaiwo.api.orders import Order, as_shard, order_of
from kaiwo.cli import config_file
from kaiwo.cli.logs import console, early_format, early_level, log_to_stderr, logger
from kaiwo.config import fetch_url
from kaiwo.config.own_files import is_same_file
from kaiwo.config.settings import Settings, before_file
from kaiwo.errors import UnfinishedError
from kaiwo.net import proxies
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.reporting import displays
from kaiwo.reporting.log_lines import failure
from kaiwo.reporting.outputs import Outputs

Options = Mapping[str, Any]


def download(path: str, options: Options) -> int:
    """Carry out a file, and report how the run ended."""
    done = _delivered(lambda: config_file.load(path, options), run.run, options, path)
    return done.exit_code


def _delivered(
    prepare: Callable[[], PreparedT],
    carry_out: Callable[[PreparedT, Sink], Report],
    options: Options,
    path: str = "",
) -> Report:
    """Load and run; show, log and deliver as the options, and then the settings, say."""
    _log_early(options)

    def display(settings: Settings) -> Sink:
        log_to_stderr(settings.log_level, settings.log_format)
        lines_only = settings.log_format == "json"
        return displays.sink_for(settings.progress, console, lines_only=lines_only)

    written = before_file("report", options), before_file("metrics_file", options)
    # An error that comes early replaces no configuration.
    early = Outputs(*(None if is_same_file(each, path) else each for each in written))
    return run_and_deliver(prepare, carry_out, display, early=early, summarise=_summarise)


def plan(path: str, options: Options, *, as_json: bool, all_: bool = False) -> int:
    """Print what ``download`` would do."""
    from kaiwo.cli import results  # noqa: PLC0415 - a run needs none of these

    _log_early(options)
    with results.errors_as_json(as_json):
        loaded = config_file.load(path, options)
        log_to_stderr(loaded.settings.log_level, loaded.settings.log_format)
        with environment.cleaned(proxies.canonical):
            return _planned(order_of(loaded), as_json=as_json, all_=all_)


def _planned(order: Order, *, as_json: bool = False, all_: bool = False) -> int:
    """Print a plan; errors go to the log, as a download would tell them."""
    from kaiwo.cli import results  # noqa: PLC0415 - a run needs none of these
    from kaiwo.reporting import plan_json, plan_text  # noqa: PLC0415

    decided = run.decide(order, displays.QuietSink())
    if as_json:
        results.show(plan_json.lines(decided))
    else:
        results.show(plan_text.lines(decided, results.width(), all_=all_))
    for item in decided.plan.missed:
        logger.error("%s", failure(item))
    if decided.error is not None:
        logger.error("%s", redact.text(decided.error.message))
    return decided.exit_code


def fetch(
    urls: Sequence[str],
    target: str | None,
    into: str | None,
    fields: Options,
    options: Options,
    *,
    dry_run: bool = False,
) -> int:
    """Fetch URLs, and print where those are that are in place.

    Args:
        urls: what to fetch.
        target: of the only URL.
        into: the folder for all of them.
        fields: of the task type.
        options: of the run.
        dry_run: print the plan only.
    """
    from kaiwo.cli import results  # noqa: PLC0415 - only these commands print any

    root = before_file("download_root", options) or "."
    if into is not None:
        fetch_url.require_target(into)
    goal = (
        Goal(target, root)
        if into is None
        else Goal(None, os.path.join(root, os.path.expanduser(into)), True)
    )
    order: FetchOrder | None = None
    paths: list[Path] = []

    def prepare() -> FetchOrder:
        nonlocal order
        order = order_of_urls(urls, goal, fields, options, OF_COMMAND)
        if order.settings.replicate:
            from kaiwo.api.again import repeatable  # noqa: PLC0415 - few runs have other nodes

            order = repeatable(order, urls, goal, fields)
        return order

    def carry_out(prepared: FetchOrder, sink: Sink) -> Report:
        done = run.carry_out(as_shard(prepared.order), sink)
        shard = done.report.shard
        if shard is None or shard.union_checked:  # else others have parts of these files
            paths.extend(each for each in prepared.outcomes(done) if isinstance(each, Path))
        return done.report

    with environment.cleaned(proxies.canonical):
        if dry_run:
            _log_early(options)
            return _planned(prepare().order)
        done = _delivered(prepare, carry_out, options)
    if order is None or order.settings.report != "-":
        results.show_paths(paths)
    return done.exit_code


def initialize(pairs: Sequence[tuple[str, str]], options: Options) -> int:
    """Put each model, whose URI is given, into the folder beside it."""
    from kaiwo.initializer import models  # noqa: PLC0415 - only this command is KServe's

    def prepare() -> models.Prepared:
        return models.prepared(pairs, options, os.environ)

    with environment.cleaned(proxies.canonical):
        return _delivered(prepare, models.Prepared.carry_out, options).exit_code


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
