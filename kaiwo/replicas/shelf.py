"""What this node has, and can give to others.

in a temporary file   ranges that the run has noted
in place              a file that this run has published, or found, while size and time are the same
in memory             blocks that others ask for now

What is in a file is given if it has the checksum with which it came. Of a file that was there
before, none is known: it is given if its object was checked by what its store states of it, for
then other nodes check it by that.


coming                its own run reads it at this moment, or writes it
on demand             another node asks for a block that the run has not come to: it is read
                      there and then, and kept until the run takes it; a few at a time
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from enum import Enum

from kaiwo.files.folders import root_of
from kaiwo.files.temporary_files import read_range
from kaiwo.jobs import RANGE, Crc, Mark, Transfer
from kaiwo.protocols import Buffer
from kaiwo.replicas.blocks import Block, length_of
from kaiwo.replicas.stored import (
    CHECK,
    Published,
    Written,
    as_number,
    has_crc,
    key_of,
    of_published,
    published,
)

#: Bytes of blocks in memory; a part of that is for blocks on demand.
HELD, DEMANDED = 48 << 20, 24 << 20
#: What was read is in the file, or in place, after this time at most; small objects come in
#: batches.
SETTLES_S = 30.0


class Has(Enum):
    """Whether a node has a block."""

    HERE = "here"
    COMING = "coming"
    NOT_YET = "not yet"
    NEVER = "never"


class Shelf:
    """The blocks of this node. Used by many threads.

    Args:
        size_of: the size of the object of that number.

    Attributes:
        bring: reads a block from the store; None before the run begins, and after it.
    """

    def __init__(self, size_of: Callable[[int], int]) -> None:
        self._size_of = size_of
        self.bring: Callable[[Block], Future[bytes]] | None = None
        self._lock = threading.Lock()
        self._written: dict[int, Written] = {}
        self._published: dict[int, Published] = {}
        self._failed: set[int] = set()
        #: The checksums with which blocks came; numbers, because there may be many.
        self._crcs: dict[int, int] = {}
        self._held: OrderedDict[Block, bytes] = OrderedDict()
        self._held_bytes = 0
        self._demanded: dict[Block, Future[bytes]] = {}
        self._read_now: defaultdict[Block, int] = defaultdict(int)
        self._settling: dict[Block, float] = {}
        self._waiting: defaultdict[Block, list[Callable[[], object]]] = defaultdict(list)

    # --- what the run says

    def note(self, number: int, transfer: Transfer, start: int, mark: Mark) -> None:
        """A range is in the temporary file of an object, as far as the mark says."""
        block = Block(number, start // RANGE)
        with self._lock:
            written = self._written.get(number)
            if written is None or written.path != transfer.temporary:
                written = Written(transfer.temporary, root_of(transfer), set())
                self._written[number] = written
            if mark.end - block.start < self._length(block):
                return
            written.parts.add(block.part)
            self._crcs[key_of(block)] = as_number(mark.crc)
            self._settling.pop(block, None)
            self._demanded.pop(block, None)  # an earlier run had left it
        self._tell(block)

    def note_crc(self, number: int, value: int) -> None:
        """All of a small object came, with this checksum; it will be in place soon."""
        with self._lock:
            self._crcs[key_of(Block(number, 0))] = as_number(Crc(CHECK, value))

    def publish(self, number: int, transfer: Transfer, *, is_proven: bool) -> None:
        """The object is in place.

        Args:
            number: of the object.
            transfer: of it.
            is_proven: it has the checksum that its store states.
        """
        found = published(transfer, is_proven=is_proven)
        if found is None:
            return
        with self._lock:
            self._published[number] = found
            self._written.pop(number, None)
            self._settling.pop(Block(number, 0), None)
            self._drop_demanded(number)
        self._tell_all(number)

    def fail(self, number: int) -> None:
        """The object cannot be had."""
        with self._lock:
            self._failed.add(number)
            self._drop_demanded(number)
        self._tell_all(number)

    def _drop_demanded(self, number: int) -> None:
        """The run will not take what was read on demand of this object."""
        for block in [each for each in self._demanded if each.number == number]:
            del self._demanded[block]

    @contextmanager
    def reading(self, block: Block) -> Iterator[Future[bytes] | None]:
        """Inside the block, the run reads this from the store.

        It is given what is, or was, read on demand; None if nothing was.
        """
        with self._lock:
            asked = self._demanded.get(block)
            self._read_now[block] += 1
        try:
            yield asked
        except BaseException:
            self._end_reading(block, 0.0)
            raise
        self._end_reading(block, SETTLES_S)

    def _end_reading(self, block: Block, settles_s: float) -> None:
        with self._lock:
            self._read_now[block] -= 1
            if not self._read_now[block]:
                del self._read_now[block]
            if settles_s:
                self._settling[block] = time.monotonic() + settles_s
        self._tell(block)

    def take(self, block: Block, data: bytes) -> None:
        """The run has what was read on demand."""
        with self._lock:
            self._demanded.pop(block, None)
        self._hold(block, data)

    # --- what others ask

    def has(self, block: Block) -> Has:
        """Whether the block is here."""
        with self._lock:
            return self._has(block)

    def _has(self, block: Block) -> Has:
        if block in self._held or self._is_written(block) or self._is_published(block):
            return Has.HERE
        asked = self._demanded.get(block)
        if asked is not None:
            return Has.HERE if _is_done(asked) else Has.COMING
        if self._read_now.get(block) or self._settling.get(block, 0.0) > time.monotonic():
            return Has.COMING
        if block.number in self._failed or self.bring is None:
            return Has.NEVER
        return Has.NOT_YET

    def _is_written(self, block: Block) -> bool:
        written = self._written.get(block.number)
        return written is not None and block.part in written.parts

    def _is_published(self, block: Block) -> bool:
        found = self._published.get(block.number)
        return found is not None and (found.is_proven or key_of(block) in self._crcs)

    def _length(self, block: Block) -> int:
        return length_of(self._size_of(block.number), block)

    def demand(self, block: Block) -> None:
        """Read it for another node, if there is room; its run has not come to it."""
        size = self._length(block)
        with self._lock:
            bring, kept = self.bring, sum(map(self._length, self._demanded))
            if bring is None or self._has(block) is not Has.NOT_YET:
                return
            if kept and kept + size > DEMANDED:
                return
            asked = self._demanded[block] = bring(block)
        asked.add_done_callback(lambda _: self._take_demanded(block, asked))

    def _take_demanded(self, block: Block, asked: Future[bytes]) -> None:
        if not _is_done(asked):
            with self._lock:
                if self._demanded.get(block) is asked:
                    del self._demanded[block]
        self._tell(block)

    def read(self, block: Block) -> Buffer | None:
        """All of a block that is here; None if it is not, after all."""
        with self._lock:
            data = self._held.get(block)
            asked = self._demanded.get(block)
            written = self._written.get(block.number)
            published = self._published.get(block.number)
            crc = self._crcs.get(key_of(block))
            if data is not None:
                self._held.move_to_end(block)
                return data
        if asked is not None and _is_done(asked):
            return asked.result()
        length = self._length(block)
        for found in (
            b"" if published is None else of_published(published, block.start, length),
            b"" if written is None else read_range(written.path, block.start, length, written.root),
        ):
            if len(found) == length and (crc is None or has_crc(found, crc)):
                self._hold(block, found)
                return found
        self._disbelieve(block)
        return None

    def _disbelieve(self, block: Block) -> None:
        """What is in the files is not what was written."""
        with self._lock:
            if (written := self._written.get(block.number)) is not None:
                written.parts.discard(block.part)
            self._published.pop(block.number, None)

    def _hold(self, block: Block, data: bytes) -> None:
        with self._lock:
            self._held_bytes += len(data) - len(self._held.pop(block, b""))
            self._held[block] = data
            while self._held_bytes > HELD - DEMANDED and len(self._held) > 1:
                self._held_bytes -= len(self._held.popitem(last=False)[1])

    # --- who waits

    def when_changed(self, block: Block, call: Callable[[], object]) -> None:
        """Call this once, when there is news of the block."""
        with self._lock:
            self._waiting[block].append(call)

    def forget(self, block: Block, call: Callable[[], object]) -> None:
        """Do not call it any more."""
        with self._lock:
            if call in (waiting := self._waiting.get(block, [])):
                waiting.remove(call)
            if not waiting:
                self._waiting.pop(block, None)

    def _tell_all(self, number: int) -> None:
        with self._lock:
            blocks = [each for each in self._waiting if each.number == number]
        for block in blocks:
            self._tell(block)

    def _tell(self, block: Block) -> None:
        with self._lock:
            calls = self._waiting.pop(block, [])
        for call in calls:
            call()


def _is_done(asked: Future[bytes]) -> bool:
    """Whether what was read on demand is there."""
    return asked.done() and not asked.cancelled() and asked.exception() is None
