"""Where everything goes, and what excludes each other: checked before the first byte.

Each object gets its target; a name that may not be one is an offender. So is one of two objects for
the same target, a file where another needs a folder, a way out of the root through a link, and
names that the file system takes for the same. All offenders are named, in one error.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from kaiwo.errors import UnsafeNameError
from kaiwo.files.names import fault_of_place, is_plain
from kaiwo.files.paths import collisions, is_within, real_path
from kaiwo.jobs import Transfer, Want
from kaiwo.objects import RemoteObject
from kaiwo.planning.case_folding import Foldings, folded, likely_own

#: So many names that cannot be are told one by one.
MOST_OFFENDERS = 100


def placed(
    found: Iterable[tuple[Want, Iterable[RemoteObject]]], run: str, layout: Layout
) -> Iterator[tuple[Want, Transfer]]:
    """A transfer for each object, offenders left out and noted."""
    index = 0
    for want, objects in found:
        for remote in objects:
            try:
                place = want.placement.place(remote)
            except UnsafeNameError as error:
                layout.offenders.append(f"{want.opener.url('')}: {error.message}{_where(want)}")
                continue
            yield (
                want,
                Transfer(
                    index, run, want.task, want.opener, remote, place.target, place.root, place.blob
                ),
            )
            index += 1


def _where(want: Want) -> str:
    return f" ({want.where})" if want.where else ""


def _is_same(one: Transfer, other: Transfer) -> bool:
    """Whether both bring the same bytes of the same object to the same name."""
    if one.object.etag is None and one.object.version is None:
        return False
    first, second = (
        (each.opener.origin, each.source, each.target, each.blob, each.object.identity)
        for each in (one, other)
    )
    return first == second


class _Offenders:
    """What is wrong with names: the first hundred faults, and how many more there are."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def append(self, fault: str) -> None:
        self._count += 1
        if len(self._first) < MOST_OFFENDERS:
            self._first.append(fault)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        if self._count > len(self._first):
            yield f"and {self._count - len(self._first):,} more"


class Layout(Struct):
    """The targets of a plan as they are collected, and what is wrong with them.

    Two names are one target when links in their folders lead to the same place, so ``owners`` goes
    by the real paths; or when the file system takes them for one, which ``foldings`` knows.
    """

    offenders: _Offenders = field(default_factory=_Offenders)
    owners: dict[str, tuple[Want, Transfer]] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    foldings: Foldings = field(default_factory=Foldings)
    tops: dict[str, str] = field(default_factory=dict)
    missing: dict[str, bool] = field(default_factory=dict)

    def transfers(
        self, placed: Iterable[tuple[Want, Transfer]]
    ) -> Iterator[tuple[Transfer, os.stat_result | None]]:
        """The transfers, each with the status of a file of its size that is at its target now."""
        for want, transfer in placed:
            if fault := self._fault(transfer):
                owner = f"{transfer.source}{_where(want)}"
                self.offenders.append(f"{transfer.target!r}: {fault} ({owner})")
                continue
            path = real_path(transfer.target, self.folders)
            if path in self.owners:
                if not _is_same(self.owners[path][1], transfer):
                    owner = f"{transfer.source}{_where(want)}"
                    also = f"both {self._owner(path)} and {owner} go there"
                    self.offenders.append(f"{transfer.target}: {also}")
                continue
            self.owners[path] = want, transfer
        self._check_each_other()
        for path, (_, transfer) in self.owners.items():
            self._check_inside(path, transfer)
            yield transfer, self._there(path, transfer)

    def _owner(self, path: str) -> str:
        """Whose path it is, for people."""
        want, transfer = self.owners[path]
        return f"{transfer.source}{_where(want)}"

    def _fault(self, transfer: Transfer) -> str | None:
        """What is wrong with the path of a transfer, seen by itself."""
        places = (transfer.target,) if transfer.blob is None else (transfer.target, transfer.blob)
        for path in places:
            if is_plain(path, transfer.root):
                continue
            if fault := fault_of_place(path, transfer.root):
                return fault
            # Elsewhere kaiwo's own names are refused only as they are written.
            for folder, name, own in likely_own(path, transfer.root):
                if self.foldings.of(folder).same(name, own):
                    return f"{own} is a name of kaiwo's own, and {name} the same there"
        return None

    def _check_each_other(self) -> None:
        """No file may be where another one is or needs a folder, however they are written."""
        likely = list(collisions(self.owners, folded))
        # What is in the way as it is written is among these.
        for above, path in collisions(self.owners, str) if likely else ():
            self.offenders.append(
                f"{self._target(path)}: {self._owner(path)} needs a folder where "
                f"{self._owner(above)} is a file"
            )
        for above, path in likely:
            if not path.startswith(f"{above}/") and self.foldings.meet(above, path):
                self.offenders.append(
                    f"{self._target(path)} ({self._owner(path)}) and {self._target(above)} "
                    f"({self._owner(above)}) are one name to this file system"
                )

    def _target(self, path: str) -> str:
        return self.owners[path][1].target

    def _check_inside(self, path: str, transfer: Transfer) -> None:
        root = transfer.root
        if root not in self.tops:
            top = real_path(posixpath.join(root, "."), self.folders)
            self.tops[root] = posixpath.dirname(top)
        top = self.tops[root]
        inside = is_within(path, top)
        if transfer.blob is not None:
            inside = inside and is_within(real_path(transfer.blob, self.folders), top)
        if not inside:
            also = f"a link leads out of {root} ({self._owner(path)})"
            self.offenders.append(f"{transfer.target}: {also}")

    def _is_missing(self, folder: str) -> bool:
        """There is no such folder, so nothing in it needs to be looked for."""
        if folder not in self.missing:
            try:
                os.lstat(folder)
            except FileNotFoundError:
                self.missing[folder] = True
            except OSError:
                self.missing[folder] = False
            else:
                self.missing[folder] = False
        return self.missing[folder]

    def _there(self, path: str, transfer: Transfer) -> os.stat_result | None:
        target = transfer.target
        if self._is_missing(path[: path.rfind("/")]):
            return None
        try:
            status = os.stat(target)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                owner = self._owner(path)
                self.offenders.append(f"{target}: a file is where a folder is needed ({owner})")
            elif error.errno == errno.ENAMETOOLONG:
                self.offenders.append(f"{target}: the name is too long ({self._owner(path)})")
            # Whatever else is wrong there, the attempt to write will say it better.
            return None
        if stat.S_ISDIR(status.st_mode):
            owner = self._owner(path)
            self.offenders.append(f"{target}: a folder is where the file should go ({owner})")
        right_size = stat.S_ISREG(status.st_mode) and status.st_size == transfer.object.size
        return status if right_size else None
