"""Pieces of a body: cut to a size, and asked for one ahead."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

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
