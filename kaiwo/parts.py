"""The ranges of one large object as they arrive: what is there, and which checksum it has."""

from __future__ import annotations

from collections.abc import Mapping

from kaiwo import checksums
from kaiwo.objects import Checksum


class Parts:
    """Ranges of one object, which may arrive in any order.

    Args:
        size: of the object.
        length: of each range but the last.
    """

    def __init__(self, size: int, length: int) -> None:
        self._size = size
        self._length = length
        self._crcs: dict[int, Mapping[str, int]] = {}
        #: All bytes before it are there.
        self.frontier = 0

    def add(self, start: int, crcs: Mapping[str, int]) -> None:
        """A range is in the file, and has these checksums."""
        self._crcs[start] = crcs
        while self.frontier in self._crcs:
            self.frontier = self._end(self.frontier)

    def _end(self, start: int) -> int:
        return min(start + self._length, self._size)

    @property
    def complete(self) -> bool:
        """All bytes are there."""
        return self.frontier == self._size

    def checksum(self, algorithm: str) -> Checksum | None:
        """That of the whole object; None when some range was read without it."""
        parts = []
        for start in range(0, self._size, self._length):
            crc = self._crcs.get(start, {}).get(algorithm)
            if crc is None:
                return None
            parts.append((crc, self._end(start) - start))
        return checksums.combined(algorithm, parts)
