"""The ranges of one large object as they arrive: what is there, and its checksum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaiwo import checksums
from kaiwo.objects import Checksum


class ReceivedRanges:
    """Ranges of one object, which may arrive in any order.

    Args:
        size: of the object.
        length: of each range but the last.
    """

    def __init__(self, size: int, length: int) -> None:
        self._size = size
        self._length = length
        self._crcs: dict[int, Mapping[str, int]] = {}
        #: Where the first range begins that is not complete.
        self._first = 0
        #: How far ranges are written that are under way, by their starts.
        self._reached: dict[int, int] = {}

    def limits(self) -> Iterator[tuple[int, int]]:
        """Start and end of each range, in their order."""
        for start in range(0, self._size, self._length):
            yield start, self._end(start)

    def add(self, start: int, crcs: Mapping[str, int]) -> None:
        """A range is in the file, and has these checksums."""
        self._crcs[start] = crcs
        self._reached.pop(start, None)
        while self._first in self._crcs:
            self._first = self._end(self._first)

    def reach(self, start: int, end: int) -> None:
        """A range is in the file up to ``end``."""
        self._reached[start] = end

    @property
    def frontier(self) -> int:
        """All bytes before it are there."""
        return self._reached.get(self._first, self._first)

    def crc(self, start: int, algorithm: str) -> int | None:
        """The checksum of the range that starts there, if it is known."""
        return self._crcs.get(start, {}).get(algorithm)

    def _end(self, start: int) -> int:
        return min(start + self._length, self._size)

    @property
    def complete(self) -> bool:
        """All bytes are there."""
        return self._first == self._size

    def checksum(self, algorithm: str) -> Checksum | None:
        """The checksum of the whole object; None when some range was read without it."""
        parts = []
        for start, end in self.limits():
            crc = self.crc(start, algorithm)
            if crc is None:
                return None
            parts.append((crc, end - start))
        return checksums.combined(algorithm, parts)
