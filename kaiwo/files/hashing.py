"""Checksums of files: read piece by piece, and in steps between which a run may end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kaiwo import checksums
from kaiwo.files.repeat import repeat
from kaiwo.objects import Checksum

#: Read at once.
CHUNK = 1 << 20
#: Takes less than a second, even of a slow disk.
STEP = 64 << 20


def of_file(
    algorithm: str, path: str, size: int, proceed: Callable[[], None] = lambda: None
) -> Checksum | None:
    """The checksum of a file of that size; None for an unknown algorithm; raises OSError.

    Args:
        algorithm: its name.
        path: of the file.
        size: of the file.
        proceed: is called before each step, and may end it by an error.
    """
    running = checksums.hasher(algorithm, size)
    if running is None:
        return None
    for start, end in steps(0, size):
        proceed()
        follow(running, path, start, end)
    return Checksum(algorithm, running.hexdigest())


def steps(start: int, end: int) -> Iterator[tuple[int, int]]:
    """A part of a file in steps; at least one."""
    while start + STEP < end:
        yield start, start + STEP
        start += STEP
    yield start, end


def follow(running: checksums.Hasher, path: str, start: int, end: int) -> None:
    """Continue a running checksum with a part of a file; raises OSError.

    Args:
        running: the checksum.
        path: of the file.
        start: of the part.
        end: of the part.
    """
    view = memoryview(bytearray(CHUNK))

    def read() -> int:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            return file.readinto(view[: end - start]) or 0

    while count := repeat(read):
        running.update(view[:count])
        start += count
