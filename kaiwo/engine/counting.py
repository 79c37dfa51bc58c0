"""Counts bytes once: as workers report them, and what outcomes say beyond that.

    read    came from the store: for the report, the rate and the metrics
    done    need not be read again: for the bar
    kept    of these, what an earlier run had written

What arrives late of an earlier round was read, and does nothing for its object.
"""

from __future__ import annotations

from collections.abc import Sequence

from kaiwo.engine import round_files
from kaiwo.engine.arrivals import Arrivals
from kaiwo.engine.flight import Flight, Flights, gained
from kaiwo.engine.large_object import LargeObject
from kaiwo.engine.settlement import Settlement
from kaiwo.events import Progressed
from kaiwo.jobs import Batch, Job, Outcome, Progress, Whole
from kaiwo.protocols import Sink


class Counting:
    """The counts of a run.

    Args:
        flights: the objects under way.
        settlement: has the count of the report.
        sink: gets an event for bytes that arrived.
    """

    def __init__(self, flights: Flights, settlement: Settlement, sink: Sink) -> None:
        self._flights = flights
        self._settlement = settlement
        self._sink = sink
        self._arrivals = Arrivals()

    def begin(self, job: Job) -> None:
        """A job starts that may bring bytes."""
        self._arrivals.begin(job)

    def take_progress(self, progress: Progress) -> LargeObject | None:
        """Something arrived; returns the object that has grown by it, if it comes in ranges."""
        if not self._arrivals.add(progress):
            return None
        large, done, kept = None, 0, 0
        if self._flights.is_current(progress.transfer):
            flight = self._flights.get_or_start(progress.transfer)
            done, kept = progress.bytes + progress.kept, progress.kept
            flight.count(done, kept)
            large = flight.large
            if large is not None:
                large.take_progress(progress)
        source = None if large is None else progress.transfer.source
        self._tell(source, done, kept, progress.bytes)
        return large

    def take(self, job: Job, outcomes: Sequence[Outcome]) -> tuple[int, list[Flight | None]]:
        """A job has ended.

        Returns:
            The bytes that were read and not reported before, and the flight of each outcome; None
            for one of an earlier round.
        """
        flights: list[Flight | None] = []
        read = done = kept = 0
        for outcome in outcomes:
            left, flight = self._arrivals.end(job, outcome), None
            read += left.read
            if self._flights.is_current(outcome.transfer):
                flight = self._flights.get_or_start(outcome.transfer, outcome.seconds)
                gain = gained(job, outcome) - left.shown
                flight.count(gain, left.kept)
                done, kept = done + gain, kept + left.kept
            elif isinstance(job, Whole):
                # A stream makes its file itself, perhaps after its round has ended.
                round_files.discard(outcome.transfer)
            flights.append(flight)
        self._tell(None if isinstance(job, Batch) else job.transfer.source, done, kept, read)
        return read, flights

    def _tell(self, source: str | None, done: int, kept: int, read: int) -> None:
        self._settlement.transferred += read
        if done or read:
            self._sink.emit(Progressed(done, source, kept, read))
