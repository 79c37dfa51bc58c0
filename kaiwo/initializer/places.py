"""Which files of a run are of which archive: two models in one folder never become a mixture.

The plan judges the targets of objects before the first byte. What an archive holds is known when
its entries are staged, so that is judged there: none of them may have the place of an object, or of
another archive's entry. Nor may an archive, which goes away, be a file of another model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from kaiwo import units
from kaiwo.errors import UnsafeNameError

#: An archive and the folder that it is unpacked into; empty for objects.
_Owner = tuple[str, str]
_PLAN: _Owner = ("", "")


class Places:
    """The files of the models of a run, as far as they are there."""

    def __init__(self) -> None:
        self._owners: dict[str, _Owner] = {}

    def take(self, paths: Iterable[str], folder: str, archive: str = "") -> None:
        """Note whose these files are.

        Args:
            paths: relative to the folder, or absolute and below it.
            folder: of the model; absolute path.
            archive: path of what they are from; empty: they are objects, which the plan has judged.

        Raises:
            UnsafeNameError: one of them is of another archive, or is an object.
        """
        owner, real = _owner(archive, folder), os.path.realpath(folder)
        for path in paths:
            place = os.path.join(folder, path)
            other = self._owners.setdefault(_below(real, place, folder), owner)
            if other != owner:
                name = units.printable(os.path.basename(archive or other[0]))
                raise UnsafeNameError(
                    f"archive {name} and another URI of this run would both give "
                    f"{units.printable(place)}: give each URI a folder that is no other one's"
                )

    def has(self, archive: str, folder: str) -> bool:
        """Whether that archive was unpacked there already, for the same URI in other letters."""
        real = os.path.realpath(folder)
        return self._owners.get(_below(real, archive, folder)) == _owner(archive, folder)


def _owner(archive: str, folder: str) -> _Owner:
    real = os.path.realpath(folder)
    return (_below(real, archive, folder), real) if archive else _PLAN


def _below(real: str, path: str, folder: str) -> str:
    """The path, by the folder that links may lead to."""
    return os.path.join(real, os.path.relpath(path, folder))
