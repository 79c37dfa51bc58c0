"""``kaiwo.download``, and what it shares with the command: load, run, deliver."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol, TypeVar

from kaiwo import objects
from kaiwo.api.report import Report
from kaiwo.api.run import run
from kaiwo.api.shown_errors import is_whole
from kaiwo.config.document import Document
from kaiwo.config.loader import Config, build, load
from kaiwo.config.settings import Settings, of_program
from kaiwo.errors import KaiwoError
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import Sinks, program_sink
from kaiwo.reporting.outputs import Outputs


def plain(value: Any) -> Any:
    """A path as a string, which is what a file would contain."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def download(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    executor: Executor | None = None,
    progress: str = "auto",
    sink: Sink | None = None,
    **options: Any,
) -> Report:
    """Plan, transfer, verify and publish everything that a configuration asks for.

    It is the same as the command ``kaiwo download``. When it returns and ``report.ok``, every
    object is in place and verified. Objects that failed do not stop the others: the report names
    them. It works from several threads and in a running event loop, which waits for it.

    Args:
        config: path of a YAML file, or a mapping with the content of such a file.
        executor: any ``concurrent.futures.Executor``, whose workers move the bytes: threads, other
            processes, other machines, which all have the download root at the same path. It is not
            shut down. See docs/executors.md.
        progress: ``auto`` shows a bar in a notebook and on a terminal, unless the environment or
            the file say otherwise; ``bar``, ``log`` (a log line every 10 s), ``json`` (JSON lines
            on stderr) or ``none``.
        sink: gets the events of the run, instead of a display.
        options: the command's options, with ``_`` for ``-``: ``max_workers=4``,
            ``max_bandwidth="200M"`` (bytes a second), ``deadline=600`` (seconds), ``force=True``,
            ``report="report.json"``.

    Returns:
        The report: ``ok``, ``items`` (one for each object), ``failed`` (those that failed), and
        ``raise_for_failures()``, ``to_dict()``. Sizes are bytes, durations seconds.

    Raises:
        ConfigError: the configuration or an option is wrong, or names are unsafe; nothing was
            downloaded.
        DiskError: there is no room or no permission, and nothing was downloaded; or the report
            cannot be written.
        KaiwoError: something else ended the run. All errors of kaiwo are of this class.

    Example:
        >>> report = kaiwo.download("kaiwo.yaml", max_workers=16)
        >>> report.raise_for_failures()
        >>> [(item.target, item.status, item.bytes) for item in report.items]
        [('/data/models/a.bin', 'downloaded', 3)]
    """
    options = {name: plain(value) for name, value in options.items()}
    if progress != "auto":
        options["progress"] = progress

    def loaded() -> Config:
        if isinstance(config, Mapping):
            document = Document("config", dict(config))
            return build(document, options, os.environ, option=of_program)
        return load(config, options, option=of_program)

    def display(settings: Settings) -> Sink:
        return sink or program_sink(settings.progress)

    try:
        return Report.of(run_and_deliver(loaded, partial(run, executor=executor), display))
    except KaiwoError as error:
        if is_whole(error):
            raise
        raise error.with_traceback(None) from None


class Prepared(Protocol):
    """What can be carried out: a configuration, or an order for URLs."""

    @property
    def settings(self) -> Settings:
        """Options of the run."""
        ...


PreparedT = TypeVar("PreparedT", bound=Prepared)


def run_and_deliver(
    prepare: Callable[[], PreparedT],
    carry_out: Callable[[PreparedT, Sink], objects.Report],
    sink_for: Callable[[Settings], Sink],
    *,
    early: Outputs | None = None,
    summarise: Callable[[objects.Report], None] | None = None,
) -> objects.Report:
    """Load, run, and write the report, however the run ends.

    Every error is written and raised again, a panic in Rust and a signal's exception included. The
    report then has everything that was settled before the error.

    Args:
        prepare: loads what is to be carried out.
        carry_out: carries it out.
        sink_for: gives the display for the settings.
        early: where an error goes that comes before the run; None to raise it only.
        summarise: is called with the report before it is written.

    Raises:
        KaiwoError: see ``download``.
    """
    outputs = early
    try:
        prepared = prepare()
        settings = prepared.settings
        of_run = Outputs(settings.report, settings.metrics_file)
        outputs = of_run if early is not None else None
        sink = sink_for(settings)
        of_run.require_folder()
        outputs = of_run
        done = carry_out(prepared, Sinks(outputs, sink))
    except BaseException as error:
        if outputs is not None:
            done = outputs.report(error)
            if done.items and summarise is not None:
                summarise(done)
            outputs.write(done)
        raise
    if summarise is not None:
        summarise(done)
    outputs.write(done)
    return done
