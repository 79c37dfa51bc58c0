"""Sinks that show the progress of a run: a bar, log lines, JSON lines, or nothing.

    bar     a terminal: one bar for the whole run, failures and retries above it
    log     everything else: a log line every ten seconds
    json    programs: a JSON object a line on stderr
    none    failures and retries only

A notebook has no place for a bar; it gets one line that is overwritten. Sinks never raise and never
wait. Names of objects are data: they are never read as rich markup.
"""

from __future__ import annotations

import atexit
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
from kaiwo.reporting.counters import Counters
from kaiwo.reporting.log_lines import EventLog

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

LOG_EVERY_S = 10.0
logger = logging.getLogger(__name__)


class Sinks:
    """Several sinks as one; each event reaches them in their order."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        for sink in self._sinks:
            sink.emit(event)


class LogSink:
    """A log line when the plan is complete, and every ten seconds before and after that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = Counters(clock)
        self._log = EventLog(clock)
        self._start_s = clock()
        self._next_s = self._start_s + LOG_EVERY_S
        self._is_planned = False

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._counters.add(event)
        self._log.add(event)
        now_s = self._counters.clock()
        if isinstance(event, Planned):
            self._is_planned = True
            self._next_s = now_s + LOG_EVERY_S
        elif now_s >= self._next_s and not isinstance(event, Ended):
            self._next_s = now_s + LOG_EVERY_S
            if not self._is_planned:
                logger.info("still listing after %s", units.duration(now_s - self._start_s))
            elif self._counters.files:
                logger.info("%s%s", progress_line(self._counters), slowest_text(self._counters))


class JsonSink:
    """One JSON object a line on stderr: the plan, counts every second, failures, the end."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._counters = Counters()
        self._next_s = 0.0

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._counters.add(event)
        counters = self._counters
        now_s = self._counters.clock()
        counts: dict[str, object] = {
            "files": counters.files,
            "files_done": counters.files_done,
            "bytes": counters.bytes,
            "bytes_done": counters.bytes_done,
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
            case _ if now_s >= self._next_s and counters.files:
                self._next_s = now_s + 1.0
                more = {"retries": counters.retries, "slowest": _slowest(counters)}
                self._print({"event": "progress", "rate": round(counters.rate), **counts, **more})
            case _:
                pass

    def _print(self, document: dict[str, object]) -> None:
        _write(self._stream, json.dumps(document) + "\n")


def _slowest(counters: Counters) -> dict[str, object] | None:
    slowest = counters.slowest
    if slowest is None:
        return None
    return {
        "source": slowest.source,
        "bytes": slowest.bytes,
        "size": slowest.size,
        "seconds": round(counters.clock() - slowest.started_s, 1),
    }


class BarSink:
    """One bar for the whole run; failures and retries are log lines above it.

    It hides the cursor. So the first event begins it, not the constructor: what fails before a run
    has nothing to end. ``Ended`` ends it, or the end of the program; the next run has another bar.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._has_left = False

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if self._bar is None:
            if self._has_left:
                return
            self._bar = self._begin()
        try:
            self._show(self._bar, event)
        finally:
            if isinstance(event, Ended):
                self._end()

    def _begin(self) -> Progress:
        from rich import progress  # noqa: PLC0415 - only a bar needs rich

        self._counters = Counters()
        self._log = EventLog()
        bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[files]}", markup=False),
            console=self._console,
            transient=False,
        )
        self._row = bar.add_task("listing", total=None, files="")
        self._bar = bar
        atexit.register(self._leave)
        bar.start()
        return bar

    def _end(self) -> None:
        """Stop drawing, and show the cursor again."""
        if self._bar is None:
            return
        self._bar.stop()
        self._bar = None
        atexit.unregister(self._leave)

    def _leave(self) -> None:
        """The program ends; a daemon thread may still be at work."""
        self._has_left = True
        self._end()

    def _show(self, bar: Progress, event: Event) -> None:
        counters = self._counters
        counters.add(event)
        self._log.add(event)
        match event:
            case Planned():
                bar.update(self._row, description="downloading", total=counters.bytes)
            case Ended():
                bar.update(self._row, description="done")
            case _:
                pass
        if counters.files:
            files = f"{counters.files_done}/{counters.files} files"
            bar.update(self._row, completed=counters.bytes_done, files=files)


class LineSink:
    """One line that is overwritten again and again, where no bar can be drawn (a notebook)."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._counters = Counters()
        self._next_s = 0.0

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._counters.add(event)
        now_s = self._counters.clock()
        if self._counters.files and (now_s >= self._next_s or isinstance(event, Ended)):
            self._next_s = now_s + 0.2
            end = "\n" if isinstance(event, Ended) else ""
            _write(self._stream, f"\r{progress_line(self._counters):<78}{end}")


class QuietSink:
    """Log lines for failures and retries, nothing else."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = EventLog(clock)

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if not isinstance(event, Planned):
            self._log.add(event)


def progress_line(counters: Counters) -> str:
    """Files, bytes, rate and time left, in one line."""
    parts = [
        f"{counters.files_done} of {counters.files} files",
        f"{units.size(counters.bytes_done)} of {units.size(counters.bytes)}",
        f"{units.size(counters.rate)}/s",
    ]
    if counters.left_s is not None:
        parts.append(f"{units.duration(counters.left_s)} left")
    if counters.retries:
        parts.append(units.count(counters.retries, "retry", "retries"))
    return ", ".join(parts)


def slowest_text(counters: Counters) -> str:
    """The slowest large object, to be added to a progress line; empty if there is none."""
    slowest = counters.slowest
    if slowest is None:
        return ""
    age = units.duration(counters.clock() - slowest.started_s)
    return f", slowest {slowest.source} {slowest.percent} % after {age}"


def _write(stream: IO[str], text: str) -> None:
    """Write at once. A closed stream is no reason to stop downloading."""
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def notebook_sink() -> Sink:
    """The sink for a program that calls kaiwo.

    A line in a notebook, a bar on a terminal, else log lines for failures and retries only.
    """
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
        lines_only: the reader of stderr expects log lines only, so a bar becomes log lines.
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
