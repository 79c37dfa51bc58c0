"""Whether several machines that write into one file get what they have written.

Most shared file systems keep ranges apart that several clients write. Those of object stores do
not: each client uploads the whole file when it closes it, and the last one wins. So a file system
must be one that is known to keep them, and show that it writes at an offset. Nothing wrong is ever
published where this is mistaken: who finishes an object checks each range in the file, and fetches
what is not there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator

from kaiwo import own_names

logger = logging.getLogger(__name__)
#: Through FUSE come clients of object stores, and of these file systems.
_OF_FUSE = {"fuse.glusterfs", "fuse.ceph-fuse", "fuse.ceph", "fuse.juicefs", "fuse.mfs"}
#: Neither these: they are no file systems for several machines, and some cache what they like.
_NEVER = {"9p", "fuse", "fuseblk"}
#: The probe writes so far into a file.
_OFFSET = 1 << 20


def is_trusted(folder: str, table: str = "/proc/self/mountinfo") -> bool:
    """Whether several writers into one file of that folder can be trusted.

    Args:
        folder: absolute path of a folder of kaiwo.
        table: what is mounted where.
    """
    kind = _kind_of(folder, table)
    if kind in _NEVER or (kind.startswith("fuse.") and kind not in _OF_FUSE):
        logger.info("%s is of type %s: whole files only for each shard", folder, kind)
        return False
    try:
        return _keeps_both(folder)
    except OSError as error:
        logger.info("%s: whole files only for each shard: %s", folder, error.strerror)
        return False


def _keeps_both(folder: str) -> bool:
    """Whether what two have written into a new file is there, the later part first."""
    path = os.path.join(folder, own_names.look_part_name(secrets.token_hex(4)))
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    first = os.open(path, flags, 0o600)
    try:
        second = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        with _closing(second):
            os.pwrite(second, b"later", _OFFSET)
        os.pwrite(first, b"early", 0)
        there = os.pread(first, 5, 0), os.pread(first, 5, _OFFSET)
        return there == (b"early", b"later") and os.fstat(first).st_size == _OFFSET + 5
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(first)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _kind_of(folder: str, table: str) -> str:
    """The type of the file system of a folder; empty where nothing tells."""
    try:
        device = os.stat(folder).st_dev
        with open(table, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                fields = before.split()
                if fields[2] == f"{os.major(device)}:{os.minor(device)}":
                    return after.split()[0]
    except (OSError, IndexError):
        pass
    return ""
