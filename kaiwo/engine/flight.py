"""Objects under way: the round, bytes and attempts of each, in one place.

An object that starts again does so in a new round, with another temporary file. What arrives late
of an earlier round is ignored: its transfer is no longer current.
"""

from __future__ import annotations

import time

from msgspec import Struct, field
from msgspec.structs import replace

from kaiwo.engine.large_object import LargeObject
from kaiwo.jobs import Batch, Job, Outcome, Range, Transfer
from kaiwo.objects import RemoteObject


class Flight(Struct):
    """An object that has started and is not settled.

    Attributes:
        transfer: the object, in its latest round.
        started_s: when it started, by the monotonic clock.
        attempts: how often it was tried.
        received: bytes of this round, as displays have them.
        kept: how many of these an earlier run left.
        lookups: how often it was looked up, because a read found another object.
        left: its jobs that failed since it is being looked up; None when it is not.
        replaced: it was replaced in the store, as far as its etag and date tell.
        agreed: what all that was stated of it since the plan agrees on.
        in_one: it comes in one request, because each answer states something else.
        wrong: wrong checksums that were found.
        refetched: it was fetched again because its bytes were wrong.
        large: its ranges, if it is a large one.
    """

    transfer: Transfer
    started_s: float
    attempts: int = 1
    received: int = 0
    kept: int = 0
    lookups: int = 0
    left: list[Job] | None = None
    replaced: bool = False
    agreed: RemoteObject | None = None
    in_one: bool = False
    wrong: set[str] = field(default_factory=set)
    refetched: bool = False
    large: LargeObject | None = None

    def count(self, done: int, kept: int) -> None:
        """Count bytes that are done, and how many of these an earlier run left."""
        self.received += done
        self.kept += kept

    def reset_counts(self) -> tuple[int, int]:
        """Everything must be read again; returns the bytes received and kept until now."""
        before = self.received, self.kept
        self.received = self.kept = 0
        return before

    def next_round(self, run: str) -> None:
        """Start again with another temporary file; what was learned of the object stays.

        Args:
            run: the token of this run: no other one writes into that file.
        """
        now = self.transfer
        self.transfer = replace(now, run=run, round=now.round + 1, partial=None)


class Flights:
    """All objects under way, and which objects are settled."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight] = {}
        self._settled: set[int] = set()

    def get_or_start(self, transfer: Transfer, seconds: float = 0.0) -> Flight:
        """Its flight; a new one, which started ``seconds`` ago, if there is none yet."""
        flight = self._flights.get(transfer.index)
        if flight is None:
            flight = Flight(transfer, time.monotonic() - seconds)
            self._flights[transfer.index] = flight
        return flight

    def find(self, transfer: Transfer) -> Flight | None:
        """Its flight, if it is under way."""
        return self._flights.get(transfer.index)

    def is_current(self, transfer: Transfer) -> bool:
        """Whether the object is neither settled nor in a later round."""
        if transfer.index in self._settled:
            return False
        flight = self._flights.get(transfer.index)
        return flight is None or flight.transfer.round == transfer.round

    def is_settled(self, transfer: Transfer) -> bool:
        """Whether the object has reached its final state."""
        return transfer.index in self._settled

    def settle(self, transfer: Transfer) -> None:
        """End its flight: the object has reached its final state."""
        self._flights.pop(transfer.index, None)
        self._settled.add(transfer.index)


def size_of(job: Job) -> int:
    """The bytes that a request is to bring."""
    match job:
        case Range():
            return job.end - max(job.start, job.reached)
        case Batch():
            return max(each.object.size for each in job.transfers)
        case _:
            return job.transfer.object.size


def gained(job: Job, outcome: Outcome) -> int:
    """How many bytes of its object a job brought that need not be read again."""
    if isinstance(job, Range):
        # A range that must be read again to be compared is no progress.
        count = max(outcome.reached - max(job.start, job.reached), 0)
        return count if outcome.agrees else 0
    return outcome.bytes + outcome.kept if outcome.error is None else 0


def continued(job: Range, outcome: Outcome) -> Range:
    """The job as it is to be repeated: what an attempt has written stays."""
    if outcome.error is None or outcome.reached <= max(job.start, job.reached):
        return job
    return replace(job, reached=outcome.reached, crcs=outcome.crcs, known=None)


def is_outdated(job: Job, flight: Flight) -> bool:
    """Whether the job was made before its object was looked up."""
    if isinstance(job, Batch):
        return all(
            each.object != flight.transfer.object
            for each in job.transfers
            if each.index == flight.transfer.index
        )
    return job.transfer.object != flight.transfer.object


def updated(job: Job, flight: Flight) -> Job:
    """The job for its object as it is known now."""
    return alone(job, flight) if isinstance(job, Batch) else replace(job, transfer=flight.transfer)


def alone(job: Job, flight: Flight) -> Job:
    """The job for this object only: the other objects of its batch are done."""
    return replace(job, transfers=(flight.transfer,)) if isinstance(job, Batch) else job
