"""How a worker reads bytes: all of a request at once, or in pieces as they arrive.

at once     the least work for each byte: for connections that are fast
in pieces   written, checked and reported as they arrive: for slow connections, where much would
            be lost by a kill, and for many requests at once, where much would be in memory

Pieces are taken where they arrive, without a change of thread for each. With a limit of bytes a
second, the worker's thread takes them: what was read is handed on first; then the thread waits. A
range is asked for in several requests then, because what was asked for fills buffers meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator

from msgspec import Struct

from kaiwo.errors import KaiwoError, TransientError
from kaiwo.jobs import Progress, Transfer
from kaiwo.objects import as_read
from kaiwo.protocols import Buffer, Source, Take
from kaiwo.workers import attempt
from kaiwo.workers.bandwidth import Bandwidth
from kaiwo.workers.progress import Channel
from kaiwo.workers.threads import over, require_open

#: What has arrived is written and reported at least this often.
PIECE_S = 0.1
#: A connection is given up when it creeps for this long.
CREEPS_S = 30.0
#: A request may be this many times as long while the limit is not used up.
LONGER = 4


class Reading(Struct, frozen=True):
    """How the bytes of a job are read.

    Attributes:
        piece: at most this many are in memory before they are written; 0: all of the request,
            which are not reported before the job ends.
        least_rate: a connection that brings fewer bytes a second creeps; 0: not known.
        channel: where they are reported; None: nowhere.
        bandwidth: the limit of the run; None if there is none.
        request: no request asks for more bytes of a range while the limit is used up; 0: each asks
            for all of it.
        unreported: about this many are written before they are reported.
        abreast: a machine reads this many of a service at once, and lets others wait; 0: all.
    """

    piece: int = 0
    least_rate: float = 0.0
    channel: Channel | None = None
    bandwidth: Bandwidth | None = None
    request: int = 0
    unreported: int = 0
    abreast: int = 0

    def report(self, progress: Progress) -> None:
        """Say what has arrived."""
        if self.channel is not None:
            self.channel.send(progress)

    def wait(self, size: int) -> float:
        """Wait as long as the limit wants it after bytes were read; returns for how long.

        Raises:
            UnfinishedError: the run ended meanwhile.
        """
        return 0.0 if self.bandwidth is None else self.bandwidth.wait(size)

    @property
    def unused_s(self) -> float:
        """For how many seconds so far the limit was not used up."""
        return 0.0 if self.bandwidth is None else self.bandwidth.unused_s()


AT_ONCE = Reading()


class Timer:
    """When bytes came: the first, and the last that were taken. The first are taken at once.

    Attributes:
        answer_s: how long until the first byte came; 0 before that.
    """

    def __init__(self) -> None:
        self.answer_s = 0.0
        self._start_s = time.monotonic()
        self._is_begun = False
        self._told_s = 0.0
        self._taken_s = 0.0

    def begin(self) -> None:
        """The request goes out now; told once more, its answer has come."""
        if self._is_begun:
            self.came()
        else:
            self._start_s, self._is_begun = time.monotonic(), True

    def came(self) -> None:
        """Bytes came."""
        if not self.answer_s:
            self.answer_s = time.monotonic() - self._start_s

    def untold_s(self) -> float:
        """How long until the first byte came, told once; 0 after that, and before it."""
        untold_s, self._told_s = self.answer_s - self._told_s, self.answer_s
        return untold_s

    def is_due(self) -> bool:
        """Whether what came since the last time is to be taken; then it is."""
        now_s = time.monotonic()
        if now_s - self._taken_s < PIECE_S:
            return False
        self._taken_s = now_s
        return True


class Arrived:
    """What has arrived of an object that comes in one request; it is reported on the way.

    Args:
        transfer: the object.
        how: where it is reported.
    """

    def __init__(self, transfer: Transfer, how: Reading) -> None:
        self.bytes = 0
        self._transfer = transfer
        self._how = how
        self._timer = Timer()
        self._reported = 0

    @property
    def answer_s(self) -> float:
        """How long until the first byte came; 0 before that."""
        return self._timer.answer_s

    def begin(self) -> None:
        """See ``Timer.begin``."""
        self._timer.begin()

    def add(self, size: int) -> None:
        """Bytes came."""
        self._timer.came()
        self.bytes += size

    def report(self) -> None:
        """Report what came, if it is time or much."""
        count = self.bytes - self._reported
        if self._timer.is_due() or count >= self._how.piece:
            self._how.report(Progress(self._transfer, bytes=count))
            self._reported = self.bytes


class Pace:
    """Whether a connection creeps.

    Args:
        transfer: what it brings.
        how: what is expected of it.
    """

    def __init__(self, transfer: Transfer, how: Reading) -> None:
        self._transfer = transfer
        self._how = how
        self._since_s = time.monotonic()
        self._count = 0

    def came(self, count: int) -> None:
        """Bytes came.

        Raises:
            TransientError: the connection creeps.
        """
        self._count += count
        passed_s = time.monotonic() - self._since_s
        if passed_s < CREEPS_S:
            return
        if self._count < self._how.least_rate * passed_s:
            raise TransientError(
                f"reading {self._transfer.source}: {self._count} bytes in {passed_s:.0f} s, far "
                "fewer than by other connections"
            )
        self._since_s, self._count = time.monotonic(), 0

    def wait(self, count: int) -> None:
        """Wait as the limit wants it after bytes were read; that time does not count.

        Raises:
            UnfinishedError: the run ended meanwhile.
        """
        self._since_s += self._how.wait(count)


def arriving(
    source: Source, transfer: Transfer, start: int, end: int, how: Reading, take: Take
) -> Iterator[Buffer]:
    """The bytes of that range that are not taken as they arrive; all of it comes, or an error.

    Args:
        source: is read.
        transfer: the object.
        start: the first byte.
        end: the byte after the last one.
        how: the bytes are read.
        take: is given bytes where they arrive, see ``protocols.Take``.

    Raises:
        KaiwoError: the source failed; classified.
        TransientError: fewer or more bytes came, or the connection creeps.
        UnfinishedError: the run ended meanwhile.
    """
    if not how.piece:
        yield attempt.read(source, transfer, start, end)
        how.wait(end - start)
        return
    at, most = start, how.request
    while at < end:
        stop, unused_s = min(at + (most or end), end), how.unused_s
        yield from _of_a_request(source, transfer, at, stop, how, take)
        at = stop
        # Where nothing is held back, nothing fills buffers, and a server may be slow to answer.
        most = min(2 * most, LONGER * how.request) if how.unused_s > unused_s else how.request


def _of_a_request(
    source: Source, transfer: Transfer, start: int, end: int, how: Reading, take: Take
) -> Iterator[Buffer]:
    """See ``arriving``."""
    left, pace, is_over = end - start, Pace(transfer, how), over()

    def taken(chunk: Buffer) -> bool:
        nonlocal left
        if is_over() or len(chunk) > left or not take(chunk):
            return False
        left -= len(chunk)
        pace.came(len(chunk))
        return True

    remote = as_read(transfer.object)
    try:
        if how.bandwidth is None:
            chunks = source.stream_into(remote, start, end, how.piece, taken)
        else:
            chunks = source.stream(remote, start, end, how.piece)
        with contextlib.closing(watched(chunks, pace)) as coming:
            for chunk in coming:
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
    except KaiwoError:
        raise
    except Exception as error:
        raise source.classify(error) from None  # a chain is printed whole, an SDK's text and all
    if left:
        got = f"more than {end - start}" if left < 0 else f"{end - start - left}"
        raise TransientError(f"reading {transfer.source}: got {got} bytes instead of {end - start}")


def watched(chunks: Iterator[Buffer], pace: Pace) -> Generator[Buffer, None, None]:
    """The chunks, until the run is over or their connection creeps; closes what gives them.

    An error keeps the frames that raised it, and so the connection, for as long as it is kept.

    Raises:
        TransientError: the connection creeps.
        UnfinishedError: the run is over.
    """
    try:
        for chunk in chunks:
            require_open()
            pace.came(len(chunk))
            yield chunk
            pace.wait(len(chunk))
    finally:
        if isinstance(chunks, Generator):
            chunks.close()
