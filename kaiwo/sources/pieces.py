"""Pieces of a body: cut to a size, asked for one ahead, and taken where they arrive."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

from kaiwo.protocols import Buffer, Take

T = TypeVar("T")


def cut(chunks: Iterable[Any], most: int) -> Generator[memoryview, None, None]:
    """The same bytes in pieces that have at most that many."""
    for buffer in chunks:
        chunk = memoryview(buffer)
        for start in range(0, len(chunk), most):
            yield chunk[start : start + most]


def begun(pieces: Iterator[T]) -> Generator[T, None, None]:
    """The same pieces, whose first has come already: its failure is raised here."""
    first = next(pieces, None)

    def all_of_them() -> Generator[T, None, None]:
        if first is not None:
            yield first
            yield from pieces

    return all_of_them()


class Taken:
    """Offers bytes to who may take them where they arrive, until they are refused once.

    Args:
        take: see ``protocols.Take``.

    Attributes:
        bytes: that were taken.
    """

    def __init__(self, take: Take) -> None:
        self.bytes = 0
        self._take: Take | None = take

    def begin(self) -> None:
        """A request goes out, or its answer has come: said by empty buffers."""
        self.offer(b"")

    def offer(self, chunk: Buffer) -> bool:
        """Whether these bytes were taken."""
        if self._take is None:
            return False
        if not self._take(chunk):
            self._take = None
            return False
        self.bytes += len(chunk)
        return True
