"""Which targets are invalid, and which exclude each other: checked before the first byte.

Each object gets its target. It is an offender if

    its name is not allowed            see ``files/names.py``
    it has the target of another       or one that the file system treats as the same, or by another
                                       mount of its folder
    it is a file where another one     needs a folder
    a link leads out of the root       so that it would be written elsewhere
    a link leads into a snapshot       whose files never change
    it is a file of the run itself     see ``config/own_files.py``

All offenders are named in one error.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from kaiwo import checksums, own_names
from kaiwo.errors import UnsafeNameError
from kaiwo.files.folders import Root, resolved
from kaiwo.files.names import fault_of_place, is_plain
from kaiwo.files.paths import collisions, is_within, real_path
from kaiwo.jobs import Transfer, Want
from kaiwo.objects import Checksum, RemoteObject, same_bytes
from kaiwo.planning.case_folding import (
    FoldingProbe,
    doubtful_names,
    folded,
    possible_own_names,
)
from kaiwo.planning.existing import statuses
from kaiwo.planning.long_names import LongNames
from kaiwo.planning.mounts import twins
from kaiwo.planning.offenders import Offenders


class TargetCheck:
    """Gives objects their targets, and collects what is wrong with these.

    Two targets are the same file if links in their folders lead to the same place, so owners are
    kept by real paths; or if the file system treats their names as equal.

    Args:
        run: the token of this run.
        probe: which names are equal in which folder.
        locked: see ``Listing``.
        own: see ``Comparison``.

    Attributes:
        offenders: complete when all transfers were taken from ``transfers``.
    """

    def __init__(
        self,
        run: str,
        probe: FoldingProbe | None = None,
        *,
        locked: bool = False,
        own: Mapping[str, str] | None = None,
    ) -> None:
        self._locked, self._own = locked, own or {}
        self.offenders = Offenders()
        self._run = run
        self._long_names = LongNames()
        self._probe = probe or FoldingProbe()
        self._owners: dict[str, tuple[Want, Transfer]] = {}
        self._real_folders: dict[str, str] = {}
        self._real_roots: dict[str, str] = {}
        self._roots: dict[str, Root] = {}

    def transfers(
        self, found: Iterable[tuple[Want, Iterable[RemoteObject]]]
    ) -> Iterator[tuple[Transfer, os.stat_result | None]]:
        """A transfer for each object, each with the status of a file of its size at its target.

        Args:
            found: the objects of each want.
        """
        for want, transfer in self._placed(found):
            if fault := self._fault(transfer):
                owner = _owner(want, transfer)
                self.offenders.add(f"{transfer.target!r}: {fault} ({owner})", want)
                continue
            path = real_path(transfer.target, self._real_folders)
            if what := self._own.get(path):
                also = f"this is {what} of the run ({_owner(want, transfer)})"
                self.offenders.add(f"{transfer.target}: {also}", want)
                continue
            first = self._owners.get(path)
            adds = want.required and first and not first[0].required
            if first is None or (adds and _are_same(first[1], transfer)):
                is_checked = first is not None and first[1].check_format
                joined = replace(transfer, check_format=is_checked or transfer.check_format)
                self._owners[path] = want, joined
            elif _are_same(first[1], transfer):
                if transfer.check_format:
                    self._owners[path] = first[0], replace(first[1], check_format=True)
            else:
                also = f"both {self._owner(path)} and {_owner(want, transfer)} have this target"
                self.offenders.add(f"{transfer.target}: {also}", first[0], want)
        self._check_collisions()
        self._check_mounts()
        there = statuses(transfer.target for _, transfer in self._owners.values())
        for path, (_, transfer) in self._owners.items():
            self._check_root(path, transfer)
            yield transfer, self._existing(path, transfer, there.get(transfer.target))

    def _placed(
        self, found: Iterable[tuple[Want, Iterable[RemoteObject]]]
    ) -> Iterator[tuple[Want, Transfer]]:
        index = 0
        for want, objects in found:
            for remote in objects:
                try:
                    place = want.placement.place(remote)
                except UnsafeNameError as error:
                    where = _in_config(want)
                    self.offenders.add(f"{want.opener.url('')}: {error.message}{where}", want)
                    continue
                fields = (index, self._run, want.task, want.opener, remote)
                places = (place.target, place.root, place.blob)
                if place.root not in self._roots:
                    self._roots[place.root] = resolved(place.root)
                transfer = Transfer(
                    *fields,
                    *places,
                    symlinks=place.symlinks,
                    staged=place.staged,
                    real_root=self._roots[place.root].real,
                    required=want.required or remote.signed or self._of_lock(remote),
                    locked=self._locked,
                    check_format=want.policy.check_format,
                    signed=remote.signed is not None,
                )
                yield want, transfer
                index += 1

    def _of_lock(self, remote: RemoteObject) -> Checksum | None:
        """What a lock says that the bytes must have; None if its checksum proves nothing."""
        is_proof = checksums.is_of_bytes(remote.checksum) and not remote.may_be_pointer
        return remote.checksum if self._locked and is_proof else None

    def _owner(self, path: str) -> str:
        """The object that has this real path, for people."""
        return _owner(*self._owners[path])

    def _wants(self, *paths: str) -> Iterator[Want]:
        """Who asks for the objects that have these real paths."""
        return (self._owners[path][0] for path in paths)

    def _target(self, path: str) -> str:
        return self._owners[path][1].target

    def _fault(self, transfer: Transfer) -> str | None:
        """What is wrong with the path of a transfer by itself."""
        places = [transfer.target]
        if transfer.blob is not None and not transfer.staged:  # kaiwo has named that one's folder
            places.append(transfer.blob)
        for path in places:
            is_checked = is_plain(path, transfer.root)
            if not is_checked and (fault := fault_of_place(path, transfer.root)):
                return fault
            if (name := self._long_names.too_long(path)) is not None:
                return f"the name {name} is too long for this file system"
            if is_checked:
                continue
            # Where a folder ignores no differences, other spellings of kaiwo's names are harmless.
            for folder, name, own in possible_own_names(path, transfer.root):
                if self._probe.folding_of(folder).are_equal(name, own):
                    return f"{own} is a name of kaiwo's own, and {name} is the same there"
            for folder, name in doubtful_names(path, transfer.root):
                if fault := self._probe.folding_of(folder).fault_of(name):
                    return fault
        return None

    def _check_collisions(self) -> None:
        """No file may be where another one is or needs a folder, in any spelling."""
        likely = list(collisions(self._owners, folded))
        # Paths that collide as they are written are among these.
        for above, path in collisions(self._owners, str) if likely else ():
            self.offenders.add(
                f"{self._target(path)}: {self._owner(path)} needs a folder where "
                f"{self._owner(above)} is a file",
                *self._wants(path, above),
            )
        for above, path in likely:
            if not path.startswith(f"{above}/") and self._probe.collide(above, path):
                self.offenders.add(
                    f"{self._target(path)} ({self._owner(path)}) and {self._target(above)} "
                    f"({self._owner(above)}) are one name to this file system",
                    *self._wants(path, above),
                )

    def _check_mounts(self) -> None:
        """No two files may be one since their folders are."""
        folders = {path[: path.rfind("/")] or "/": None for path in self._owners}
        if not (same := twins(folders)):
            return
        first: dict[str, str] = {}
        for path in self._owners:
            cut = path.rfind("/")
            folder = path[:cut] or "/"
            before = first.setdefault(f"{same.get(folder, folder)}{path[cut:]}", path)
            if before != path and not _are_same_bytes(
                self._owners[before][1], self._owners[path][1]
            ):
                self.offenders.add(
                    f"{self._target(path)} ({self._owner(path)}) and {self._target(before)} "
                    f"({self._owner(before)}) are one file: the same folder is mounted at both",
                    *self._wants(path, before),
                )

    def _check_root(self, path: str, transfer: Transfer) -> None:
        """No link may lead out of the root, or to the files that a snapshot's readers have."""
        if own_names.is_in_generation(path) and not own_names.is_staged(transfer.destination):
            also = f"a link leads into a snapshot, whose files never change ({self._owner(path)})"
            hint = "set publish: snapshot, as it was, or move the link away"
            self.offenders.add(f"{transfer.target}: {also}; {hint}", *self._wants(path))
        root = transfer.root
        if root not in self._real_roots:
            self._real_roots[root] = os.path.realpath(root)
        top = self._real_roots[root]
        is_inside = is_within(path, top)
        if transfer.blob is not None:
            blob = real_path(transfer.blob, self._real_folders)
            is_inside = is_inside and is_within(blob, top)
        if not is_inside:
            also = f"a link leads out of {root} ({self._owner(path)})"
            self.offenders.add(f"{transfer.target}: {also}", *self._wants(path))

    def _existing(
        self, path: str, transfer: Transfer, answer: os.stat_result | OSError | None
    ) -> os.stat_result | None:
        """The status of the file at the target, if it may have the right size."""
        target, add = transfer.target, self.offenders.add
        if isinstance(answer, OSError):
            if answer.errno == errno.ENOTDIR:
                owner = self._owner(path)
                add(f"{target}: a file is where a folder is needed ({owner})", *self._wants(path))
            elif answer.errno == errno.ELOOP and _is_circle(os.path.dirname(target)):
                also = f"a link in its folder leads in a circle ({self._owner(path)})"
                add(f"{target}: {also}", *self._wants(path))
            elif answer.errno == errno.ENAMETOOLONG:
                add(f"{target}: the name is too long ({self._owner(path)})", *self._wants(path))
            # For any other error, the attempt to write gives the better message.
            return None
        if answer is None:
            return None
        if stat.S_ISDIR(answer.st_mode):
            owner = self._owner(path)
            add(f"{target}: a folder is where the file should go ({owner})", *self._wants(path))
        remote = transfer.object
        is_sized = remote.unsized or answer.st_size == remote.size
        is_likely = is_sized or transfer.required is not None
        return answer if stat.S_ISREG(answer.st_mode) and is_likely else None


def _is_circle(folder: str) -> bool:
    """Whether a folder cannot be reached since a link leads in a circle."""
    try:
        os.stat(folder)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _owner(want: Want, transfer: Transfer) -> str:
    """The object and the item that asks for it, for people."""
    return f"{transfer.source}{_in_config(want)}"


def _in_config(want: Want) -> str:
    return f" ({want.where})" if want.where else ""


def _are_same(one: Transfer, other: Transfer) -> bool:
    """Whether both bring the same bytes of the same object to the same name."""
    are_there = (one.target, one.blob) == (other.target, other.blob)
    return are_there and _are_same_bytes(one, other)


def _are_same_bytes(one: Transfer, other: Transfer) -> bool:
    if one.required and other.required and one.required != other.required:
        # A lock has both, each by the algorithm of its item.
        is_open = one.locked and one.required.algorithm != other.required.algorithm
        if not is_open:
            return False
    first, second = ((each.opener.origin, each.source) for each in (one, other))
    return first == second and same_bytes(one.object, other.object) is True
