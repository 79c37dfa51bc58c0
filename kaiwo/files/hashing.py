"""Checksums of files: read piece by piece, and in steps between which a run may end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from kaiwo import checksums
from kaiwo.files.folders import Root, in_folder
from kaiwo.files.repeat import repeat
from kaiwo.objects import Checksum

#: Read at once.
CHUNK = 1 << 20
#: Takes less than a second, even of a slow disk.
STEP = 64 << 20


def of_file(
    algorithm: str,
    path: str,
    size: int,
    proceed: Callable[[], None] = lambda: None,
    root: Root | None = None,
) -> Checksum | None:
    """The checksum of a file of that size; None for an unknown algorithm; raises OSError.

    Args:
        algorithm: its name.
        path: of the file.
        size: of the file.
        proceed: is called before each step, and may end it by an error.
        root: of a temporary file, see ``folders.py``.
    """
    running = checksums.hasher(algorithm, size)
    if running is None:
        return None
    for start, end in steps(0, size):
        proceed()
        follow(running, path, start, end, root)
    return Checksum(algorithm, running.hexdigest())


def steps(start: int, end: int) -> Iterator[tuple[int, int]]:
    """A part of a file in steps; at least one."""
    while start + STEP < end:
        yield start, start + STEP
        start += STEP
    yield start, end


def follow(
    running: checksums.Hasher, path: str, start: int, end: int, root: Root | None = None
) -> None:
    """Continue a running checksum with a part of a file; raises OSError.

    Args:
        running: the checksum.
        path: of the file.
        start: of the part.
        end: of the part.
        root: of a temporary file, see ``folders.py``.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if root is None else os.O_NOFOLLOW | os.O_NONBLOCK)
    view = memoryview(bytearray(CHUNK))

    def opened(path: str, _: int) -> int:
        return in_folder(path, root, lambda folder, name: os.open(name, flags, dir_fd=folder))

    def read() -> int:
        with open(path, "rb", buffering=0, opener=opened) as file:
            file.seek(start)
            return file.readinto(view[: end - start]) or 0

    while count := repeat(read):
        running.update(view[:count])
        start += count
