"""Is there room for a plan? Checked on each file system before the first byte.

What a plan needs:

    for a file     its size in whole blocks, less what an earlier run left of it, and an inode
    for a folder   one block and an inode, if it must be made
    for a link     an inode, beside those of the blob that it leads to

A file that is replaced gives its room back, but only when the new one is in place. So if there is
too little room, these files are counted, too: then what the plan adds in the end must fit, and its
largest file must fit beside the one that it replaces.

A file system in memory gives no more than the pod may still use, less what kaiwo itself may need.
All such file systems share that.

A file system that states nothing, or nothing sensible, has room: network and copy-on-write file
systems have no number of inodes, and some have no size.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from kaiwo import units
from kaiwo.errors import DiskError
from kaiwo.files import memory_limit
from kaiwo.jobs import Transfer

logger = logging.getLogger(__name__)
#: In place of a device's number: the memory that this process may use.
_MEMORY = -1
#: What kaiwo itself may still need of it, in a large pod.
_OWN_MEMORY = 128 << 20


class _Volume(Struct):
    """A file system: what it has, and what the plan needs.

    Attributes:
        folder: an existing folder on it.
        device: its number.
        block: sizes are rounded up to a multiple of this.
        free: free bytes; None if unknown.
        free_inodes: free inodes; None if unknown.
        size: needed bytes.
        inodes: needed inodes.
        largest: bytes of the largest file that will be written.
        memory: where the files take memory, what the pod may still use.
    """

    folder: str
    device: int
    block: int
    free: int | None
    free_inodes: int | None
    size: int = 0
    inodes: int = 0
    largest: int = 0
    memory: _Volume | None = None

    def add_needed(self, size: int, inodes: int) -> None:
        """Count the bytes and inodes of one file or folder."""
        rounded = -(-size // self.block) * self.block
        self.size += rounded
        self.inodes += inodes
        self.largest = max(self.largest, rounded)
        if self.memory is not None:
            self.memory.add_needed(rounded, 0)

    def subtract_replaced(self, size: int, inodes: int) -> None:
        """Count the bytes and inodes of files that will be replaced."""
        self.size = max(self.size - size, self.largest)
        self.inodes = max(self.inodes - inodes, min(self.inodes, 1))
        if self.memory is not None:
            self.memory.subtract_replaced(size, 0)

    @property
    def is_short(self) -> bool:
        """Whether there is too little of anything."""
        lacks_bytes = self.free is not None and self.size > self.free
        return lacks_bytes or (self.free_inodes is not None and self.inodes > self.free_inodes)

    @property
    def room(self) -> Room:
        """The same for a plan that is shown."""
        is_memory = self.device == _MEMORY
        return Room(
            self.folder if is_memory else _mount_of(self.folder, self.device),
            self.size,
            self.free,
            self.inodes,
            self.free_inodes,
            not self.is_short,
            is_memory,
        )

    @property
    def shortage(self) -> str:
        """What is needed and what is free, for people."""
        needed, free = units.exact_size(self.size), units.exact_size(self.free or 0)
        found = [f"{needed} are needed and {free} are free"]
        if self.device == _MEMORY:
            return (
                f"{self.folder} keeps its files in memory, and this pod may not use so much: "
                f"{found[0]}; give the pod more memory, or choose a target on a disk"
            )
        if self.free_inodes is not None:
            found.append(f"{self.inodes:,} inodes are needed and {self.free_inodes:,} are free")
        room = f"not enough room on {_mount_of(self.folder, self.device)}: {', '.join(found)}"
        return f"{room}; free some space there, give the volume more, or choose another target"


class _Volumes(Struct):
    """The file systems of a plan's folders; the disk is asked about each folder once."""

    by_folder: dict[str, _Volume | None] = field(default_factory=dict)
    by_device: dict[int, _Volume | None] = field(default_factory=dict)

    def short(self) -> list[_Volume]:
        """Those that have too little of anything."""
        return [each for each in self.by_device.values() if each is not None and each.is_short]

    def volume_of(self, path: str) -> _Volume | None:
        """The file system of a file, None if unknown; folders that must be made are counted."""
        folder = path[: path.rfind("/")] or "/"
        if folder not in self.by_folder:
            self._find(folder)
        return self.by_folder[folder]

    def _find(self, folder: str) -> None:
        new = []
        while folder not in self.by_folder and not self._exists(folder):
            new.append(folder)
            folder = os.path.dirname(folder)
        volume = self.by_folder[folder]
        for each in new:
            self.by_folder[each] = volume
            if volume is not None:
                volume.add_needed(1, 1)

    def _exists(self, folder: str) -> bool:
        """Whether that folder exists, or the disk refuses to say so."""
        try:
            device = os.stat(folder).st_dev
        except (FileNotFoundError, NotADirectoryError):
            return folder == "/"
        except OSError as error:
            logger.debug("%s: free space is unknown: %s", folder, error.strerror)
            self.by_folder[folder] = None
            return True
        if device not in self.by_device:
            volume = self.by_device[device] = _volume(folder, device)
            if volume is not None and memory_limit.is_in_memory(device):
                volume.memory = self._memory(folder)
        self.by_folder[folder] = self.by_device[device]
        return True

    def _memory(self, folder: str) -> _Volume | None:
        """What the pod may still use; the first folder that takes it stands for all."""
        if _MEMORY not in self.by_device:
            left = memory_limit.memory_left()
            free = None if left is None else left - min(_OWN_MEMORY, left // 8)
            self.by_device[_MEMORY] = _Volume(os.path.realpath(folder), _MEMORY, 1, free, None)
        return self.by_device[_MEMORY]


class Room(Struct, frozen=True):
    """What a file system has, and what a plan needs of it.

    Attributes:
        folder: its topmost folder.
        bytes_needed: once the plan is carried out.
        bytes_free: None if unknown.
        inodes_needed: files, links and folders.
        inodes_free: None if unknown.
        is_enough: it has what is needed, as far as that is known.
        is_memory: it is the memory that this pod may use.
    """

    folder: str
    bytes_needed: int
    bytes_free: int | None
    inodes_needed: int
    inodes_free: int | None
    is_enough: bool
    is_memory: bool


def require(transfers: Sequence[Transfer]) -> None:
    """Return if there is room for everything that will be written, as far as that is known.

    Args:
        transfers: of a closed plan; those that are ``present`` need nothing.

    Raises:
        DiskError: file systems have too little room; all of them are named.
    """
    _require(_needs(transfers))


def rooms(transfers: Sequence[Transfer]) -> tuple[tuple[Room, ...], DiskError | None]:
    """What there is on each file system, and the error of ``require``, if it is not enough."""
    volumes = _needs(transfers)
    found = tuple(
        each.room for each in volumes.by_device.values() if each and (each.size or each.inodes)
    )
    try:
        _require(volumes)
    except DiskError as error:
        return found, error
    return found, None


def _require(volumes: _Volumes) -> None:
    if short := volumes.short():
        raise DiskError("\n".join(each.shortage for each in short))


def _needs(transfers: Sequence[Transfer]) -> _Volumes:
    """The file systems, with what these transfers need of them."""
    volumes = _Volumes()
    needed = [each for each in transfers if not each.present or _is_of_other_size(each)]
    blobs: set[str] = set()
    for transfer in needed:
        volume = volumes.volume_of(transfer.blob or transfer.target)
        # Equal files of a snapshot share one blob.
        if volume is not None and transfer.blob not in blobs:
            left = _left_behind(transfer)
            volume.add_needed(max(transfer.length - left, 0), 0 if left else 1)
        if transfer.blob is not None and not transfer.staged:
            blobs.add(transfer.blob)
            if (volume := volumes.volume_of(transfer.target)) is not None:
                volume.add_needed(0, 1)
    if volumes.short():
        _count_replaced(needed, volumes)
    return volumes


def _is_of_other_size(transfer: Transfer) -> bool:
    """Whether the file at the target will be replaced, unless it has the item's checksum."""
    if transfer.required is None:
        return False
    try:
        return os.stat(transfer.target).st_size != transfer.object.size
    except OSError:
        return False


def _left_behind(transfer: Transfer) -> int:
    """Bytes that the temporary file of an earlier run already takes on the disk."""
    if transfer.partial is None:
        return 0
    if transfer.part is not None:
        return transfer.kept_bytes  # the rest of the file is of other runs
    try:
        return os.lstat(transfer.partial.temporary).st_blocks * 512
    except OSError:
        return 0


def _count_replaced(transfers: Iterable[Transfer], volumes: _Volumes) -> None:
    """Subtract what the files that will be replaced take now."""
    freed: dict[int, tuple[int, int]] = {}
    for path in {path for each in transfers for path in (each.blob, each.destination) if path}:
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if status.st_nlink == 1:
            size, inodes = freed.get(status.st_dev, (0, 0))
            freed[status.st_dev] = size + status.st_blocks * 512, inodes + 1
    for device, (size, inodes) in freed.items():
        if (volume := volumes.by_device.get(device)) is not None:
            volume.subtract_replaced(size, inodes)


def _volume(folder: str, device: int) -> _Volume | None:
    try:
        there = os.statvfs(folder)
    except OSError as error:
        logger.debug("%s: free space is unknown: %s", folder, error.strerror)
        return None
    block = there.f_frsize or there.f_bsize or 1
    # More free than there is in all: the number overflowed, or stands for "none".
    knows_size = 0 <= there.f_bavail <= there.f_blocks and there.f_blocks
    knows_inodes = 0 <= there.f_favail <= there.f_files and there.f_files
    free = there.f_bavail * block if knows_size else None
    return _Volume(folder, device, block, free, there.f_favail if knows_inodes else None)


def _mount_of(folder: str, device: int) -> str:
    """The topmost folder of that file system above a folder."""
    folder = os.path.realpath(folder)
    while folder != "/" and os.stat(os.path.dirname(folder)).st_dev == device:
        folder = os.path.dirname(folder)
    return folder
