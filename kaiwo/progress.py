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
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kaiwo import redact
from kaiwo.errors import KaiwoError, UnreachableError
from kaiwo.events import Ended, Event, Planned, Progressed, Retried, Settled
from kaiwo.objects import Item
from kaiwo.protocols import Sink

if TYPE_CHECKING:
    from rich.console import Console

LOG_EVERY_S = 10.0
#: After so many lines about failures, the report is the place to look.
MOST_FAILURES = 100
logger = logging.getLogger(__name__)


@dataclass
class Tally:
    """Counts of a run, and what follows from them."""

    clock: Callable[[], float] = time.monotonic
    started_s: float = 0.0
    files: int = 0
    bytes: int = 0
    files_done: int = 0
    bytes_done: int = 0
    failed: int = 0
    retries: int = 0

    def add(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case Planned(files, size):
                self.files, self.bytes = files, size
                self.started_s = self.clock()
            case Progressed(count):
                self.bytes_done += count
            case Settled(item) if item.attempts:
                self.files_done += 1
                self.failed += item.status == "failed"
                if item.status == "unchanged":
                    self.bytes_done += item.bytes
            case Retried():
                self.retries += 1
            case _:
                pass

    @property
    def rate(self) -> float:
        """Bytes per second since the plan was closed."""
        return self.bytes_done / max(self.clock() - self.started_s, 1e-3)

    @property
    def left_s(self) -> float | None:
        """Seconds left at that rate, or None before it is known."""
        return (self.bytes - self.bytes_done) / self.rate if self.rate > 0 else None


class LogSink:
    """A log line when the plan is closed, and then every ten seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally = Tally(clock)
        self._log = EventLog(clock)
        self._next_s = 0.0

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._tally.add(event)
        self._log.add(event)
        now_s = self._tally.clock()
        if isinstance(event, Planned):
            self._next_s = now_s + LOG_EVERY_S
        elif self._tally.files and now_s >= self._next_s and not isinstance(event, Ended):
            self._next_s = now_s + LOG_EVERY_S
            logger.info("%s", line(self._tally))


class JsonSink:
    """One JSON object a line on stderr: the plan, a tally every second, failures, the end."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._tally = Tally()
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
                self._print({"event": "progress", "rate": round(tally.rate), **counts})
            case _:
                pass

    def _print(self, document: dict[str, object]) -> None:
        _write(self._stream, json.dumps(document) + "\n")


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

        self._tally = Tally()
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
        self._tally = Tally()
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

    def __init__(self) -> None:
        self._log = EventLog()

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if not isinstance(event, Planned):
            self._log.add(event)


class EventLog:
    """The log lines that events are worth by themselves; what repeats is not said for ever."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._said_s: dict[str, float] = {}

    def add(self, event: Event) -> None:
        """Log it, if it is worth a line."""
        match event:
            case Planned(files, size, unchanged) if files or unchanged:
                text = "%s, %s to fetch; %s in place already"
                logger.info(text, counted(files, "file"), amount(size), counted(unchanged, "file"))
            case Retried(_, error, attempt, delay_s):
                self._retried(error, attempt, delay_s)
            case Settled(item) if item.error is not None:
                self._failed(item)
            case Settled(item):
                logger.debug("%s: %s -> %s", item.status, item.source, item.target)
            case _:
                pass

    def _retried(self, error: KaiwoError, attempt: int, delay_s: float) -> None:
        message = redact.text(error.message)
        now_s = self._clock()
        if isinstance(error, UnreachableError):
            # While a service is waited for, all tasks ask for it, again and again.
            if now_s < self._said_s.get(message, now_s):
                return
            self._said_s[message] = now_s + LOG_EVERY_S / 2
        logger.warning("%s; attempt %d in %.1f s", message, attempt + 1, delay_s)

    def _failed(self, item: Item) -> None:
        self._failures += 1
        if self._failures <= MOST_FAILURES:
            logger.error("failed: %s", failure(item))
        elif self._failures == MOST_FAILURES + 1:
            logger.error("failed: more than %d; --report names them all", MOST_FAILURES)


def failure(item: Item) -> str:
    """Task, URL, target and reason of an object that failed."""
    message = redact.text(item.error.message) if item.error else ""
    if not item.target:
        return message  # a want that was never placed; the message names it
    if item.source not in message:
        message = f"{item.source}: {message}"
    return f"{message} (task {item.task}, target {item.target})"


def line(tally: Tally) -> str:
    """Files, bytes, rate and time left, in one line."""
    parts = [
        f"{tally.files_done} of {tally.files} files",
        f"{amount(tally.bytes_done)} of {amount(tally.bytes)}",
        f"{amount(tally.rate)}/s",
    ]
    if tally.left_s is not None:
        parts.append(f"{duration(tally.left_s)} left")
    if tally.retries:
        parts.append(counted(tally.retries, "retry", "retries"))
    return ", ".join(parts)


def counted(count: int, noun: str, several: str | None = None) -> str:
    """So many of them, for people."""
    return f"{count} {noun if count == 1 else several or noun + 's'}"


def amount(count: float) -> str:
    """Bytes, for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 - what the units mean
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds, for people."""
    if seconds < 9.95:  # noqa: PLR2004 - where tenths begin to be noise
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - what a minute is
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


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


def sink_for(kind: str, console: Callable[[], Console]) -> Sink:
    """The sink of a ``--progress`` value.

    Args:
        kind: ``bar``, ``log``, ``json`` or ``none``; ``auto`` is a bar on a terminal, else log.
        console: makes the console that log lines use too, when a bar needs one.
    """
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "log"
    match kind:
        case "bar":
            return BarSink(console())
        case "json":
            return JsonSink()
        case "none":
            return QuietSink()
    return LogSink()
