"""Bytes of jobs that are under way, as their workers report them.

What was reported of a job is not counted again when its outcome comes. A report that comes after
the outcome, by a slow channel of another process, counts nothing. Jobs that bring no bytes may be
under way for the same object (its checksum is asked for); they have no part in this.
"""

from __future__ import annotations

from msgspec import Struct

from kaiwo.jobs import Batch, BringingJob, Job, Outcome, Progress, Range, Transfer

#: Index and round of an object, and the start of a range.
_Key = tuple[int, int, int]


class Unreported(Struct, frozen=True):
    """What the outcome of a job says beyond the reports before it.

    Attributes:
        read: bytes that were read.
        kept: bytes that were found in a file.
        shown: bytes that were reported as done.
    """

    read: int
    kept: int
    shown: int


class Arrivals:
    """What has been reported of each job that is under way."""

    def __init__(self) -> None:
        #: Bytes that were read, and bytes that were found in a file.
        self._reported: dict[_Key, tuple[int, int]] = {}

    def begin(self, job: Job) -> None:
        """A job starts."""
        if isinstance(job, Batch):
            for transfer in job.transfers:
                self._reported[_key(transfer)] = 0, 0
        elif isinstance(job, BringingJob):
            self._reported[_key(job.transfer, _start(job))] = 0, 0

    def add(self, progress: Progress) -> bool:
        """Count a report; False if its job is not under way."""
        key = _key(progress.transfer, progress.start)
        before = self._reported.get(key)
        if before is None:
            return False
        self._reported[key] = before[0] + progress.bytes, before[1] + progress.kept
        return True

    def end(self, job: Job, outcome: Outcome) -> Unreported:
        """A job has ended with this outcome for one of its objects."""
        if not isinstance(job, BringingJob):
            return Unreported(outcome.bytes, outcome.kept, 0)
        read, kept = self._reported.pop(_key(outcome.transfer, _start(job)), (0, 0))
        # An attempt that is made again with other credentials reports again.
        return Unreported(max(outcome.bytes - read, 0), outcome.kept - kept, read + kept)


def _start(job: Job) -> int:
    return job.start if isinstance(job, Range) else 0


def _key(transfer: Transfer, start: int = 0) -> _Key:
    return transfer.index, transfer.round, start
