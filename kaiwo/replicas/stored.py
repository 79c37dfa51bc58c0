"""Blocks in files: where they are, and whether they are as they came."""

from __future__ import annotations

import os

from msgspec import Struct

from kaiwo import checksums
from kaiwo.files.folders import Root, in_folder, root_of
from kaiwo.files.temporary_files import read_range
from kaiwo.jobs import Crc, Transfer
from kaiwo.replicas.blocks import Block

#: The checksum of what nodes send each other, and those that ranges are noted with.
CHECK, _LONG_CRC = "crc32c", "crc64nvme"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Written(Struct):
    """The blocks of an object that are written into one file."""

    path: str
    root: Root
    parts: set[int]


class Published(Struct, frozen=True):
    """A file that is in place."""

    path: str
    root: Root
    size: int
    mtime_ns: int


def published(transfer: Transfer) -> Published | None:
    """The file of an object that is in place; None if it is not there, after all."""
    path, root = transfer.blob or transfer.target, root_of(transfer)
    try:
        with open(_opened(path, root), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return Published(path, root, status.st_size, status.st_mtime_ns)


def _opened(path: str, root: Root) -> int:
    return in_folder(path, root, lambda folder, name: os.open(name, _FLAGS, dir_fd=folder))


def of_published(found: Published, start: int, length: int) -> bytes:
    """Bytes of a file, if it is the one that was published."""
    try:
        with open(_opened(found.path, found.root), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (found.size, found.mtime_ns):
                return b""
            return os.pread(file.fileno(), length, start)
    except OSError:
        return b""


def of_written(found: Written, start: int, length: int) -> bytes:
    """Bytes of a temporary file, as far as there are any."""
    return read_range(found.path, start, length, found.root)


def key_of(block: Block) -> int:
    """A block as a number."""
    return block.number << 32 | block.part


def as_number(crc: Crc) -> int:
    """A checksum as a number."""
    return crc.value << 1 | (crc.algorithm == CHECK)


def has_crc(data: bytes, crc: int) -> bool:
    """Whether bytes have the checksum of that number."""
    algorithm = CHECK if crc & 1 else _LONG_CRC
    return checksums.crc(algorithm, data) == crc >> 1
