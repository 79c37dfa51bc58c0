"""Whether a file that was in place before has the checksum that its store states.

It is hashed once, before any of it is given, a while at each question: nothing goes on when nobody
asks any more.
"""

from __future__ import annotations

import time
from enum import Enum

from kaiwo import checksums
from kaiwo.jobs import RANGE, Crc, Transfer
from kaiwo.objects import Checksum
from kaiwo.replicas.stored import CHECK, Published, as_number, of_published

#: One question continues it for so long.
STEP_S = 2.0


class Proven(Enum):
    """What is known of such a file."""

    RIGHT = "right"
    WRONG = "wrong"
    NOT_YET = "not yet"


class Proof:
    """Of one file. Used by one thread at a time.

    Args:
        found: the file.
        stated: what its bytes should have; at least one.

    Attributes:
        crcs: of its blocks, see ``stored.as_number``.
    """

    def __init__(self, found: Published, stated: list[Checksum]) -> None:
        self._found, self._stated, self._at = found, stated, 0
        self._hashers: list[checksums.Hasher | None] = []
        self.crcs: list[int] = []

    def proceed(self) -> Proven:
        """Hash it for a while."""
        until_s, size = time.monotonic() + STEP_S, self._found.size
        if not self._at:  # there may be very many files of which none is ever asked for
            self._hashers = [checksums.hasher(each.algorithm, size) for each in self._stated]
        while self._at < size:
            length = min(RANGE, size - self._at)
            data = of_published(self._found, self._at, length)
            if len(data) != length:
                return Proven.WRONG
            for each in self._hashers:
                if each is not None:
                    each.update(data)
            self.crcs.append(as_number(Crc(CHECK, checksums.crc(CHECK, data))))
            self._at += length
            if time.monotonic() >= until_s and self._at < size:
                return Proven.NOT_YET
        return Proven.RIGHT if self._is_right() else Proven.WRONG

    def _is_right(self) -> bool:
        return any(
            running is not None and running.hexdigest() == stated.value
            for running, stated in zip(self._hashers, self._stated, strict=True)
        )


def stated_of(transfer: Transfer, verified: Checksum | None) -> list[Checksum]:
    """What the bytes of an object should have: one of these; none: nothing tells.

    A git sha1 may be that of the object's pointer.

    Args:
        transfer: of the object.
        verified: what its store has stated meanwhile, if anything.
    """
    expected = verified or transfer.expected
    if expected is None or checksums.hasher(expected.algorithm, transfer.object.size) is None:
        return []
    if expected.algorithm == "git-sha1" and transfer.object.may_be_pointer:
        return [expected, Checksum("git-lfs", expected.value)]
    return [expected]
