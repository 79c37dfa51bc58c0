"""What this node has, and can give to others.

in a temporary file   ranges that the run has noted
in place              a file that this run has published, or found, while size and time are the same
in memory             blocks that others ask for now

What is in a file is given if it has the checksum with which it came. Of a file that was there
before, none is known: it is hashed first, and given if it has the checksum that its store states.
Where nothing is stated, it is not given.

coming                its own run reads it at this moment, or writes it
on demand             another node asks for a block that the run has not come to: it is read
                      there and then; see ``demands``
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from enum import Enum
from functools import partial

from kaiwo.files.folders import root_of
from kaiwo.jobs import RANGE, Crc, Mark, Transfer
from kaiwo.objects import Checksum
from kaiwo.protocols import Buffer
from kaiwo.replicas.blocks import Block, length_of
from kaiwo.replicas.demands import Demands, is_done
from kaiwo.replicas.memory import Memory
from kaiwo.replicas.news import News
from kaiwo.replicas.proving import Proof, Proven, stated_of
from kaiwo.replicas.stored import (
    CHECK,
    Published,
    Written,
    as_number,
    has_crc,
    key_of,
    of_published,
    of_written,
    published,
)

#: What was read is in the file, or in place, by then; small objects come in batches.
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
        hashed: changes while a file that was in place is hashed.
        when_changed: has something called when there is news of a block.
        forget: has it not called any more.
    """

    def __init__(self, size_of: Callable[[int], int]) -> None:
        self._size_of = size_of
        self.bring: Callable[[Block], Future[bytes]] | None = None
        self._lock = threading.Lock()
        self._written: defaultdict[int, dict[str, Written]] = defaultdict(dict)
        self._published: dict[int, Published] = {}
        self._failed: set[int] = set()
        #: The checksums with which blocks came; numbers, because there may be many.
        self._crcs: dict[int, int] = {}
        self._memory = Memory()
        self._demands = Demands()
        self._read_now: defaultdict[Block, int] = defaultdict(int)
        self._settling: dict[Block, float] = {}
        #: Files of which no checksum is known yet; one is hashed at a time.
        self._proofs: dict[int, Proof] = {}
        self._proving = threading.Lock()
        self.hashed = 0
        self._news = News()
        self.when_changed, self.forget = self._news.wait, self._news.forget

    # --- what the run says

    def note(self, number: int, transfer: Transfer, start: int, mark: Mark) -> None:
        """A range is in the temporary file of an object, as far as the mark says."""
        block = Block(number, start // RANGE)
        with self._lock:
            written = self._written[number].get(transfer.target)
            if written is None or written.path != transfer.temporary:
                written = Written(transfer.temporary, root_of(transfer), set())
                self._written[number][transfer.target] = written
            if mark.end - block.start < self._length(block):
                return
            self._crcs[key_of(block)] = as_number(mark.crc)
            if self._size_of(number) <= RANGE:  # in place soon; until then nothing has checked it
                self._settling[block] = time.monotonic() + SETTLES_S
                return
            written.parts.add(block.part)
            self._settling.pop(block, None)
            self._demands.drop(block)  # an earlier run had left it
        self._news.tell(block)

    def note_crc(self, number: int, value: int) -> None:
        """All of a small object came, with this checksum; it will be in place soon."""
        with self._lock:
            self._crcs[key_of(Block(number, 0))] = as_number(Crc(CHECK, value))

    def publish(self, number: int, transfer: Transfer, *, verified: Checksum | None = None) -> None:
        """The object is in place.

        Args:
            number: of the object.
            transfer: of it.
            verified: the checksum that its store states, if it has that.
        """
        found = published(transfer)
        if found is None:
            return
        with self._lock:
            self._published[number] = found
            self._proofs.pop(number, None)
            parts = range(-(-found.size // RANGE))
            is_known = all(key_of(Block(number, part)) in self._crcs for part in parts)
            if not is_known and (stated := stated_of(transfer, verified)):
                self._proofs[number] = Proof(found, stated)
            self._written[number].pop(transfer.target, None)
            self._settling.pop(Block(number, 0), None)
        self._news.tell_all(number)

    def fail(self, number: int) -> None:
        """The object cannot be had."""
        with self._lock:
            self._failed.add(number)
            self._demands.drop_all(number)
        self._news.tell_all(number)

    def drop(self, number: int) -> None:
        """Some bytes of the object are wrong."""
        with self._lock:
            self._written.pop(number, None)
            self._demands.drop_all(number)
            self._memory.drop_all(number)
        self._news.tell_all(number)

    @contextmanager
    def reading(self, block: Block) -> Iterator[Future[bytes] | None]:
        """Inside the block, the run reads this from the store.

        It is given what is, or was, read on demand; None if nothing was.
        """
        with self._lock:
            asked = self._demands.get(block)
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
        self._news.tell(block)

    def is_read_now(self, block: Block) -> bool:
        """Whether the run reads this from the store at this moment."""
        return block in self._read_now

    def take(self, block: Block, data: bytes) -> None:
        """The run has what was read on demand, or for several targets."""
        with self._lock:
            self._demands.drop(block)
            self._memory.hold(block, data)

    def was_let_go(self, block: Block) -> bool:
        """Whether it was read on demand, and is not kept for the run any more."""
        return self._demands.was_let_go(block)

    # --- what others ask

    def has(self, block: Block) -> Has:
        """Whether the block is here."""
        with self._lock:
            return self._has(block)

    def _has(self, block: Block) -> Has:
        if block in self._memory or self._is_written(block) or self._is_published(block):
            return Has.HERE
        if block.number in self._proofs:
            return Has.COMING if self._proving.locked() else Has.HERE
        asked = self._demands.get(block)
        if asked is not None:
            return Has.HERE if is_done(asked) else Has.COMING
        if block.number in self._failed or self.bring is None:
            return Has.NEVER
        is_settling = self._settling.get(block, 0.0) > time.monotonic()
        return Has.COMING if is_settling or self._read_now.get(block) else Has.NOT_YET

    def _is_written(self, block: Block) -> bool:
        files = self._written.get(block.number, {}).values()
        return any(block.part in written.parts for written in files)

    def _is_published(self, block: Block) -> bool:
        return block.number in self._published and key_of(block) in self._crcs

    def _length(self, block: Block) -> int:
        return length_of(self._size_of(block.number), block)

    def demand(self, block: Block) -> None:
        """Read it for another node, if there is room; its run has not come to it."""
        size = self._length(block)
        with self._lock:
            bring = self.bring
            if bring is None or self._has(block) is not Has.NOT_YET:
                return
            gone = self._demands.make_room(size)
            for each, data in gone or ():
                self._memory.hold(each, data)
            if gone is None:
                return
            asked = bring(block)
            self._demands.add(block, size, asked)
        asked.add_done_callback(lambda _: self._end_demand(block, asked))

    def _end_demand(self, block: Block, asked: Future[bytes]) -> None:
        with self._lock:
            self._demands.note_end(block, asked)
        self._news.tell(block)

    def read(self, block: Block) -> Buffer | None:
        """All of a block that is here; None if it is not, after all, or not yet."""
        with self._lock:
            data = self._memory.get(block) or self._demands.data(block)
            if data is not None:
                return data
        self._prove(block)
        with self._lock:
            files = [*self._written.get(block.number, {}).values()]
            published = self._published.get(block.number)
            crc = self._crcs.get(key_of(block))
        if crc is None:
            return None
        length = self._length(block)
        reads = [partial(of_written, each) for each in files if block.part in each.parts]
        if published is not None:
            reads.append(partial(of_published, published))
        for read in reads:
            found = read(block.start, length)
            if len(found) == length and has_crc(found, crc):
                with self._lock:
                    self._memory.hold(block, found)
                return found
        self._disbelieve(block)
        return None

    def _prove(self, block: Block) -> None:
        """Hash a file of which no checksum is known, or continue that."""
        with self._lock:
            proof = None if key_of(block) in self._crcs else self._proofs.get(block.number)
        if proof is None or not self._proving.acquire(blocking=False):
            return
        try:
            proven = proof.proceed()
        finally:
            self._proving.release()
        with self._lock:
            self.hashed += 1
            if proven is not Proven.NOT_YET and self._proofs.get(block.number) is proof:
                del self._proofs[block.number]
                if proven is Proven.WRONG:
                    self._published.pop(block.number, None)
                for part, crc in enumerate(proof.crcs if proven is Proven.RIGHT else ()):
                    self._crcs[key_of(Block(block.number, part))] = crc
        self._news.tell_all()

    def _disbelieve(self, block: Block) -> None:
        """What is in the files is not what was written."""
        with self._lock:
            for written in self._written.get(block.number, {}).values():
                written.parts.discard(block.part)
            self._published.pop(block.number, None)
            self._proofs.pop(block.number, None)
