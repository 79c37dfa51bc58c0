"""Running checksums of large objects: md5 and sha256, which do not combine from ranges.

They have to see the bytes in order, while ranges arrive in any order. So each follows the
contiguous part of its temporary file, through the page cache, while further ranges arrive. When the
last range is there, little is left to do. A running checksum cannot travel to another process: it
runs in threads of the scheduler's own process, beside the workers.
"""

from __future__ import annotations

import os
from concurrent.futures import Future

from kaiwo import checksums
from kaiwo.files import hashing
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import root_of
from kaiwo.jobs import Outcome, Transfer
from kaiwo.objects import Checksum
from kaiwo.workers.threads import ENDS_IN_S, WorkerThreads, require_open

#: At most this many objects are followed at once.
THREADS = min(4, os.cpu_count() or 1)


class _RunningDigest:
    """A running checksum, and how many bytes it has seen."""

    def __init__(self, transfer: Transfer, algorithm: str, running: checksums.Hasher) -> None:
        self.transfer = transfer
        self.algorithm = algorithm
        self.end = 0
        self._running = running

    def follow(self, end: int) -> tuple[Outcome, ...]:
        """Take in the bytes from the last end to this one."""
        path, root = self.transfer.temporary, root_of(self.transfer)
        try:
            for first, last in hashing.steps(self.end, end):
                require_open()
                hashing.follow(self._running, path, first, last, root)
        except OSError as error:
            return (Outcome(self.transfer, error=disk_error(error, path, reading=True)),)
        self.end = end
        return (
            Outcome(self.transfer, checksum=Checksum(self.algorithm, self._running.hexdigest())),
        )


class RunningDigests:
    """The running checksums of one run."""

    def __init__(self) -> None:
        self._digests: dict[int, _RunningDigest] = {}
        self._threads: WorkerThreads | None = None

    def begin(self, transfer: Transfer, algorithm: str) -> bool:
        """Start to follow an object from its first byte; False for an unknown algorithm."""
        running = checksums.hasher(algorithm, transfer.object.size)
        if running is not None:
            self._digests[transfer.index] = _RunningDigest(transfer, algorithm, running)
        return running is not None

    def follow(self, transfer: Transfer, end: int) -> Future[tuple[Outcome, ...]]:
        """Take in the bytes up to ``end``; one step of an object at a time.

        The outcome's checksum is that of the bytes so far.
        """
        if self._threads is None:
            self._threads = WorkerThreads(THREADS, "kaiwo-digest")
        return self._threads.submit(self._digests[transfer.index].follow, end)

    def end(self, transfer: Transfer) -> int:
        """How many bytes of the object its checksum has seen; all, if none follows it."""
        digest = self._digests.get(transfer.index)
        return transfer.object.size if digest is None else digest.end

    def forget(self, transfer: Transfer) -> None:
        """The object is settled, or starts again."""
        self._digests.pop(transfer.index, None)

    def close(self) -> None:
        """Release the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads.join(ENDS_IN_S)
