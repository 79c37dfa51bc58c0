"""All that a folder holds at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: what it holds, and which file it is."""

    data: bytes
    inode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, and where it leads."""

    to: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder."""


#: Relative path -> what is there.
Snapshot = Mapping[str, File | Link | Folder]


def snapshot(root: Path) -> Snapshot:
    """What is below a folder now."""
    return {path.relative_to(root).as_posix(): _seen(path) for path in sorted(root.rglob("*"))}


def _seen(path: Path) -> File | Link | Folder:
    if path.is_symlink():
        return Link(str(path.readlink()))
    if path.is_dir():
        return Folder()
    status = path.stat()
    return File(path.read_bytes(), status.st_ino, status.st_mtime_ns)
