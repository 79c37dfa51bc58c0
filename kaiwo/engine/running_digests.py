"""Running checksums of large objects: md5 and sha256, which do not combine from ranges.

They have to see the bytes in order, while ranges arrive in any. So each follows the contiguous
frontier of its temporary file, through the page cache, while further ranges are still on their
way; when the last one arrives, little is left to do. It runs in threads of the scheduler's own
process, beside the workers: a running checksum cannot travel.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

from kaiwo import checksums
from kaiwo.files.disk_errors import disk_error
from kaiwo.jobs import Outcome, Transfer
from kaiwo.objects import Checksum

#: So many objects are followed at once.
THREADS = min(4, os.cpu_count() or 1)


class _RunningDigest:
    """A running checksum, and how far it has come."""

    def __init__(self, transfer: Transfer, algorithm: str, running: checksums.Hasher) -> None:
        self.transfer = transfer
        self.algorithm = algorithm
        self.end = 0
        self._running = running

    def follow(self, end: int) -> tuple[Outcome, ...]:
        """Take in what lies between the last end and this one."""
        path = self.transfer.temporary
        try:
            checksums.follow(self._running, path, self.end, end)
        except OSError as error:
            return (Outcome(self.transfer, error=disk_error(error, path)),)
        self.end = end
        return (
            Outcome(self.transfer, checksum=Checksum(self.algorithm, self._running.hexdigest())),
        )


class RunningDigests:
    """The running checksums of one run."""

    def __init__(self) -> None:
        self._digests: dict[int, _RunningDigest] = {}
        self._threads: ThreadPoolExecutor | None = None

    def begin(self, transfer: Transfer, algorithm: str) -> bool:
        """Begin to follow an object, perhaps anew; False for an algorithm that is not known."""
        running = checksums.hasher(algorithm, transfer.object.size)
        if running is not None:
            self._digests[transfer.index] = _RunningDigest(transfer, algorithm, running)
        return running is not None

    def follow(self, transfer: Transfer, end: int) -> Future[tuple[Outcome, ...]]:
        """Take in the bytes up to ``end``; one step of an object at a time.

        The outcome's checksum is that of the bytes so far.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kaiwo-digest")
        return self._threads.submit(self._digests[transfer.index].follow, end)

    def forget(self, transfer: Transfer) -> None:
        """The object is in place, has failed, or begins anew."""
        self._digests.pop(transfer.index, None)

    def close(self) -> None:
        """Let the threads go; a step that is under way ends by itself."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
