"""Showing a run: a bar on a terminal, a line now and then elsewhere, JSON for programs.

Sinks never raise and never wait. Names of objects are data, not markup.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from kaiwo import redact, units
from kaiwo.events import Ended, Event, Planned, Retried, Settled
from kaiwo.protocols import Sink
from kaiwo.reporting.counters import Counters, line, slowest
from kaiwo.reporting.log_lines import EventLog

if TYPE_CHECKING:
    from rich.console import Console

LOG_EVERY_S = 10.0
logger = logging.getLogger(__name__)


class Sinks:
    """Several sinks as one."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        for sink in self._sinks:
            sink.emit(event)


class LogSink:
    """A log line when the plan is closed, and every ten seconds, while it is made too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally = Counters(clock)
        self._log = EventLog(clock)
        self._begun_s = clock()
        self._next_s = self._begun_s + LOG_EVERY_S
        self._is_planned = False

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._tally.add(event)
        self._log.add(event)
        now_s = self._tally.clock()
        if isinstance(event, Planned):
            self._is_planned = True
            self._next_s = now_s + LOG_EVERY_S
        elif now_s >= self._next_s and not isinstance(event, Ended):
            self._next_s = now_s + LOG_EVERY_S
            if not self._is_planned:
                logger.info("listing, for %s so far", units.duration(now_s - self._begun_s))
            elif self._tally.files:
                logger.info("%s%s", line(self._tally), slowest(self._tally))


class JsonSink:
    """One JSON object a line on stderr: the plan, a tally every second, failures, the end."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._tally = Counters()
        self._next_s = 0.0

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._tally.add(event)
        tally = self._tally
        now_s = time.monotonic()
        counts: dict[str, object] = {
            "files": tally.files,
            "files_done": tally.files_done,
            "bytes": tally.bytes,
            "bytes_done": tally.bytes_done,
        }
        match event:
            case Planned():
                self._print({"event": "planned", "unchanged": event.unchanged, **counts})
            case Settled(item) if item.error is not None:
                message = redact.text(item.error.message)
                failure = {"source": item.source, "target": item.target, "message": message}
                self._print({"event": "failed", **failure})
            case Retried(what, error, attempt, delay_s):
                message = redact.text(error.message)
                retry = {"what": what, "attempt": attempt, "delay_s": round(delay_s, 3)}
                self._print({"event": "retried", **retry, "message": message})
            case Ended(report):
                self._print({"event": "ended", "exit_code": report.exit_code, **counts})
            case _ if now_s >= self._next_s and tally.files:
                self._next_s = now_s + 1.0
                more = {"retries": tally.retries, "slowest": _slowest(tally)}
                self._print({"event": "progress", "rate": round(tally.rate), **counts, **more})
            case _:
                pass

    def _print(self, document: dict[str, object]) -> None:
        _write(self._stream, json.dumps(document) + "\n")


def _slowest(tally: Counters) -> dict[str, object] | None:
    way = tally.slowest
    if way is None:
        return None
    seconds = round(tally.clock() - way.begun_s, 1)
    return {"source": way.source, "bytes": way.bytes, "size": way.size, "seconds": seconds}


class BarSink:
    """One bar for the whole run, and what went wrong above it."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (  # noqa: PLC0415 - rich is loaded for bars only
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._tally = Counters()
        self._log = EventLog()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[files]}", markup=False),
            console=console,
            transient=False,
        )
        self._row = self._bar.add_task("listing", total=None, files="")
        self._bar.start()

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._tally.add(event)
        tally = self._tally
        self._log.add(event)
        match event:
            case Planned():
                self._bar.update(self._row, description="downloading", total=tally.bytes)
            case Ended():
                self._bar.update(self._row, description="done")
            case _:
                pass
        if tally.files:
            files = f"{tally.files_done}/{tally.files} files"
            self._bar.update(self._row, completed=tally.bytes_done, files=files)
        if isinstance(event, Ended):
            self._bar.stop()


class LineSink:
    """One line that is written over and over, where a bar cannot be drawn (a notebook)."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._tally = Counters()
        self._next_s = 0.0

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._tally.add(event)
        now_s = time.monotonic()
        if self._tally.files and (now_s >= self._next_s or isinstance(event, Ended)):
            self._next_s = now_s + 0.2
            end = "\n" if isinstance(event, Ended) else ""
            _write(self._stream, f"\r{line(self._tally):<78}{end}")


class QuietSink:
    """Only what goes wrong."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = EventLog(clock)

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if not isinstance(event, Planned):
            self._log.add(event)


def _write(stream: IO[str], text: str) -> None:
    """Write at once; a reader that has gone is no reason to stop downloading."""
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def notebook_sink() -> Sink:
    """A bar where someone sees it: a notebook or a terminal; else only what goes wrong."""
    if "IPython" in sys.modules and hasattr(sys.stderr, "parent_header"):
        return LineSink()
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415

        return BarSink(Console(stderr=True))
    return QuietSink()


def sink_for(kind: str, console: Callable[[], Console], *, lines_only: bool = False) -> Sink:
    """The sink of a ``--progress`` value.

    Args:
        kind: ``bar``, ``log``, ``json`` or ``none``; ``auto`` is a bar on a terminal, else log.
        console: makes the console that log lines use too, when a bar needs one.
        lines_only: whoever reads stderr expects lines of the log, and no bar between them.
    """
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "log"
    if kind == "bar" and lines_only:
        kind = "log"
    match kind:
        case "bar":
            return BarSink(console())
        case "json":
            return JsonSink()
        case "none":
            return QuietSink()
    return LogSink()
