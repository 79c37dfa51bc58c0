"""Sinks that show the progress of a run: a bar, log lines, JSON lines, or nothing.

    bar     a terminal: one bar for the whole run, failures and retries above it
    log     everything else: a log line every ten seconds
    json    programs: a JSON object a line on stderr
    none    failures and retries only

A program that calls kaiwo gets a bar in a notebook, too: ``notebook``. Sinks never raise and never
wait. Names of objects are data: they are never read as rich markup.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from kaiwo import redact, units
from kaiwo.errors import ConfigError
from kaiwo.events import Ended, Event, Planned, Retried, Settled
from kaiwo.protocols import Sink
from kaiwo.reporting.counters import Counters
from kaiwo.reporting.log_lines import EventLog
from kaiwo.reporting.notebook import NotebookSink, is_notebook
from kaiwo.reporting.progress_text import progress_line, slowest_text

if TYPE_CHECKING:
    from rich.console import Console

#: Values of ``progress``.
PROGRESS = ("auto", "bar", "log", "json", "none")
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
                shard = f"shard {self._counters.shard}: " if self._counters.shard else ""
                slowest = slowest_text(self._counters)
                logger.info("%s%s%s", shard, progress_line(self._counters), slowest)


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
                shard = {"shard": counters.shard} if counters.shard else {}
                planned = {"event": "planned", **shard, "unchanged": event.unchanged}
                self._print({**planned, **counts})
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
                self._print({"event": "progress", **counts, **_more(counters)})
            case _:
                pass

    def _print(self, document: dict[str, object]) -> None:
        _write(self._stream, json.dumps(document) + "\n")


def _more(counters: Counters) -> dict[str, object]:
    """What a record of the progress says besides counts of files and bytes."""
    now_s, left_s = counters.clock(), counters.left_s
    slowest = [
        {
            "source": each.source,
            "bytes": each.bytes,
            "size": each.size,
            "seconds": round(now_s - each.started_s, 1),
        }
        for each in counters.slowest
    ]
    return {
        "rate": round(counters.rate),
        "left_s": None if left_s is None else round(left_s, 1),
        "transferred_bytes": counters.received,
        "checked_bytes": counters.checked,
        "failed": counters.failed,
        "retries": counters.retries,
        "slowest": slowest[0] if slowest else None,
        "slowest_files": slowest,
    }


class QuietSink:
    """Log lines for failures and retries, nothing else."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = EventLog(clock)

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if not isinstance(event, Planned):
            self._log.add(event)


def _write(stream: IO[str] | None, text: str) -> None:
    """Write at once. A stream that is closed or missing is no reason to stop downloading."""
    if stream is None:  # a program without a terminal or a log may have none
        return
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def program_sink(kind: str) -> Sink:
    """The sink of a ``progress`` value for a program that calls kaiwo.

    Args:
        kind: see ``sink_for``; ``auto`` is a bar in a notebook or on a terminal, else log lines for
            failures and retries only.

    Raises:
        ConfigError: there is no such value.
    """
    if kind not in PROGRESS:
        raise ConfigError(f"progress must be one of {', '.join(PROGRESS)}")
    if kind in ("auto", "bar") and is_notebook():
        return NotebookSink()
    if kind == "auto":
        kind = "bar" if _can_draw() else "none"
    return sink_for(kind, _console)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - only a bar needs rich

    return Console(stderr=True)


def _can_draw() -> bool:
    """Whether stderr is a terminal that moves its cursor."""
    # A program may have no stderr, a closed one, or another object in its place.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    return False


def _bar(console: Console) -> Sink:
    from kaiwo.reporting.bar import BarSink  # noqa: PLC0415 - only a bar needs rich

    return BarSink(console)


def sink_for(kind: str, console: Callable[[], Console], *, lines_only: bool = False) -> Sink:
    """The sink of a ``--progress`` value.

    Args:
        kind: ``bar``, ``log``, ``json`` or ``none``; ``auto`` is a bar on a terminal, else log.
        console: makes the console that log lines use too, when a bar needs one.
        lines_only: the reader of stderr expects log lines only, so a bar becomes log lines.
    """
    if kind == "auto":
        kind = "bar" if _can_draw() else "log"
    if kind == "bar" and lines_only:
        kind = "log"
    match kind:
        case "bar":
            return _bar(console())
        case "json":
            return JsonSink()
        case "none":
            return QuietSink()
    return LogSink()
