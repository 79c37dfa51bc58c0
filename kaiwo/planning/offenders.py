"""What is wrong with the objects of a plan: all of it is named in one error."""

from __future__ import annotations

from collections.abc import Iterator

from kaiwo import units
from kaiwo.jobs import Want
from kaiwo.objects import Folder

#: At most this many offenders are named one by one.
MOST_OFFENDERS = 100


class Offenders:
    """What is wrong with targets: the first faults, and how many more there are.

    Attributes:
        are_selected: an object of a folder is among them, which globs can leave out.
    """

    def __init__(self) -> None:
        self.are_selected = False
        self._first: list[str] = []
        self._count = 0

    def add(self, fault: str, *wants: Want) -> None:
        """Note a fault, and who asks for the objects."""
        self._count += 1
        self.are_selected |= any(isinstance(each.selection, Folder) for each in wants)
        if len(self._first) < MOST_OFFENDERS:
            self._first.append(units.printable(fault))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        if self._count > len(self._first):
            yield f"and {self._count - len(self._first):,} more"
