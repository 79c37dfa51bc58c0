"""``kaiwo.download``, and what it shares with the command: load, run, deliver."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from kaiwo.api.run import run
from kaiwo.config.document import Document
from kaiwo.config.loader import Config, build, load
from kaiwo.config.settings import Settings
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.reporting.displays import QuietSink, Sinks
from kaiwo.reporting.outputs import Outputs


def plain(value: Any) -> Any:
    """A path as a string, which is what a file would contain."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def download(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    sink: Sink | None = None,
    **options: Any,
) -> Report:
    """Plan, transfer, verify and publish everything that a configuration asks for.

    When it returns and ``report.ok``, every object is in place and verified. Objects that failed
    are in ``report.items``, with their errors; all other objects are in place.

    Args:
        config: path of a YAML file, or a mapping with the content of such a file.
        sink: gets the events of the run; by default, problems are logged.
        options: the command's options, such as ``max_workers=4``.

    Raises:
        KaiwoError: nothing was downloaded, because the configuration is wrong or names are unsafe;
            or the report cannot be written.
    """
    options = {name: plain(value) for name, value in options.items()}

    def loaded() -> Config:
        if isinstance(config, Mapping):
            return build(Document("config", dict(config)), options)
        return load(config, options)

    return run_and_deliver(loaded, run, lambda _: sink or QuietSink())


class Prepared(Protocol):
    """What can be carried out: a configuration, or an order for URLs."""

    @property
    def settings(self) -> Settings:
        """Options of the run."""
        ...


PreparedT = TypeVar("PreparedT", bound=Prepared)


def run_and_deliver(
    prepare: Callable[[], PreparedT],
    carry_out: Callable[[PreparedT, Sink], Report],
    sink_for: Callable[[Settings], Sink],
    *,
    early: Outputs | None = None,
    summarise: Callable[[Report], None] | None = None,
) -> Report:
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
