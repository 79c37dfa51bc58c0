"""Metrics of a run for Prometheus, in a file that node_exporter's textfile collector reads.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format

    # HELP kaiwo_files Objects in their final state, by status.
    # TYPE kaiwo_files gauge
    kaiwo_files{status="downloaded"} 3

The file is replaced every ten seconds and at the end; only the last one has ``kaiwo_exit_code``.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from msgspec import Struct

from kaiwo._version import __version__
from kaiwo.events import Event, Planned, Progressed, Settled
from kaiwo.files import documents
from kaiwo.files.disk_errors import disk_error
from kaiwo.objects import Report, Status
from kaiwo.reporting.counters import Counters

EVERY_S = 10.0
logger = logging.getLogger(__name__)


class Metric(Struct, frozen=True):
    """One metric.

    Attributes:
        name: its name; a counter's ends in ``_total``.
        help: what it counts.
        values: a value for each value of the label; a metric without a label has one.
        label: the label's name.
    """

    name: str
    help: str
    values: Mapping[str, float]
    label: str = ""

    def lines(self) -> Iterator[str]:
        """The metric in the text format."""
        yield f"# HELP {self.name} {_escaped(self.help)}\n"
        yield f"# TYPE {self.name} {'counter' if self.name.endswith('_total') else 'gauge'}\n"
        for text, value in self.values.items():
            quoted = _escaped(text).replace('"', r"\"")
            label = f'{{{self.label}="{quoted}"}}' if self.label else ""
            yield f"{self.name}{label} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


class MetricsFile:
    """A sink that writes the metrics file.

    Args:
        path: of the file.
        clock: monotonic seconds.
        now: seconds since 1970.
    """

    def __init__(
        self,
        path: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._clock, self._now = clock, now
        self._counters = Counters(clock)
        self._start_s = clock()
        self._next_s = self._start_s + EVERY_S
        self._settled: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._transferred = 0
        self._progressed_s: float | None = None
        self._warned = False

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self._counters.add(event)
        match event:
            case Progressed(_, _, _, read) if read > 0:
                self._transferred += read
                self._progressed_s = self._now()
            case Settled(item):
                self._settled[item.status] += 1
                self._progressed_s = self._now()
                if item.error is not None:
                    self._failures[item.error.kind] += 1
            case _:
                pass
        if isinstance(event, Planned) or self._clock() >= self._next_s:
            self._next_s = self._clock() + EVERY_S
            self._write(None)

    def end(self, report: Report) -> None:
        """Write the file for the last time."""
        # Only the report counts the bytes of failed requests.
        self._transferred = max(self._transferred, report.transferred_bytes)
        if report.error is not None:
            self._failures[report.error.kind] += 1
        self._write(report.exit_code)

    def _write(self, exit_code: int | None) -> None:
        lines = (line for metric in self._metrics(exit_code) for line in metric.lines())
        try:
            documents.write(self._path, lines)
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger.warning("%s; the run continues", disk_error(error, self._path).message)

    def _metrics(self, exit_code: int | None) -> Iterator[Metric]:
        counters = self._counters
        by_status = {status: self._settled[status] for status in get_args(Status)}
        by_kind = dict(sorted(self._failures.items()))
        seconds = round(self._clock() - self._start_s, 3)
        yield Metric("kaiwo_info", "The version of kaiwo.", {__version__: 1}, "version")
        if counters.shard:
            name = "kaiwo_shard_info"
            yield Metric(name, "Which shard of a plan this is.", {counters.shard: 1}, "shard")
        yield _one("kaiwo_seconds", "Seconds since the start of the run.", seconds)
        yield _one("kaiwo_files_planned", "Objects to check or to fetch.", counters.files)
        yield _one("kaiwo_bytes_planned", "Size of the planned objects, in bytes.", counters.bytes)
        yield Metric("kaiwo_files", "Objects in their final state, by status.", by_status, "status")
        yield _one(
            "kaiwo_bytes_done",
            "Planned bytes that have arrived or were already there.",
            counters.bytes_done,
        )
        yield _one(
            "kaiwo_bytes_rate",
            "Object bytes that arrived in the last seconds, per second.",
            round(counters.rate),
        )
        yield _one(
            "kaiwo_transferred_bytes_total",
            "Object bytes read, repeated reads included.",
            self._transferred,
        )
        yield _one("kaiwo_retries_total", "Requests that were repeated.", counters.retries)
        yield Metric("kaiwo_failures_total", "Final failures, by kind of error.", by_kind, "kind")
        if self._progressed_s is not None:
            name = "kaiwo_last_progress_timestamp_seconds"
            yield _one(name, "Unix time of the last progress.", round(self._progressed_s, 3))
        if exit_code is not None:
            yield _one("kaiwo_exit_code", "Exit code of the run.", exit_code)


def _one(name: str, text: str, value: float) -> Metric:
    return Metric(name, text, {"": value})
