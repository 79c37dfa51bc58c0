"""The ranges of one large object as they arrive: what is there, and its checksum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaiwo import checksums
from kaiwo.objects import Checksum


class ReceivedRanges:
    """Ranges of one object, which may arrive in any order.

    Args:
        start: the first byte that is to arrive.
        end: the byte after the last one.
        length: of each range but the last.
    """

    def __init__(self, start: int, end: int, length: int) -> None:
        self._start, self._end = start, end
        self._length = length
        self._crcs: dict[int, Mapping[str, int]] = {}
        #: Where the first range begins that is not complete.
        self._first = start
        #: How far ranges are written that are under way, by their starts.
        self._reached: dict[int, int] = {}

    def limits(self) -> Iterator[tuple[int, int]]:
        """Start and end of each range, in their order."""
        for start in range(self._start, self._end, self._length):
            yield start, self._end_of(start)

    def add(self, start: int, crcs: Mapping[str, int]) -> None:
        """A range is in the file, and has these checksums."""
        self._crcs[start] = crcs
        self._reached.pop(start, None)
        while self._first in self._crcs:
            self._first = self._end_of(self._first)

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

    def _end_of(self, start: int) -> int:
        return min(start + self._length, self._end)

    @property
    def complete(self) -> bool:
        """All bytes are there."""
        return self._first == self._end

    def checksum(self, algorithm: str) -> Checksum | None:
        """The checksum of the whole object; None when some range was read without it."""
        parts = []
        for start, end in self.limits():
            crc = self.crc(start, algorithm)
            if crc is None:
                return None
            parts.append((crc, end - start))
        return checksums.combined(algorithm, parts)
