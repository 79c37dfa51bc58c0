"""How much memory this process may use: the limit of its pod or control group.

A file system in memory (tmpfs, an ``emptyDir`` with ``medium: Memory``, /dev/shm) takes its files
from the same limit: what it states as free may be far more than the pod gets.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

#: Version 1 of cgroups says "no limit" by a number that is larger than any memory.
_NO_LIMIT = 1 << 60
#: The files of a control group, version 2 and 1: its limit, its use, and the lines of its
#: ``memory.stat`` that say which part of the use is page cache. Files in memory are no part of it.
_FILES = (
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
    (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
)
_IN_MEMORY = {"tmpfs", "ramfs"}


def memory_limit(proc: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> int | None:
    """The limit of this process's cgroup in bytes, version 1 or 2; None if no limit is visible.

    In a container the limit is at the root, not at the path that ``proc`` names; elsewhere it is at
    that path or above it.
    """
    return min((limit for _, _, limit in _limits(proc, root)), default=None)


def memory_left(proc: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> int | None:
    """What this process's cgroup still gives in bytes; None if no limit is visible."""
    found = []
    for folder, version, limit in _limits(proc, root):
        _, use, cache = _FILES[version]
        used = _number(f"{folder}/{use}")
        if used is not None:
            cached = sum(_numbers(f"{folder}/memory.stat").get(name, 0) for name in cache)
            found.append(max(limit - max(used - cached, 0), 0))
    return min(found, default=None)


def is_in_memory(device: int, mounts: str = "/proc/self/mountinfo") -> bool:
    """Whether the file system of that number keeps its files in memory, as far as is known."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError), open(mounts, encoding="utf-8", errors="replace") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if before.split()[2:3] == [wanted]:
                return after.split()[:1] != [] and after.split()[0] in _IN_MEMORY
    return False


def _limits(proc: str, root: str) -> Iterator[tuple[str, int, int]]:
    """Each cgroup of this process that has a limit: its folder, its version as an index, it."""
    folders = {(root, 0), (f"{root}/memory", 1)}
    with contextlib.suppress(OSError), open(proc, encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top, version = (f"{root}/memory", 1) if controllers else (root, 0)
            while path.strip("/"):
                folders.add((f"{top}/{path.strip('/')}", version))
                path = os.path.dirname(path)
    for folder, version in folders:
        limit = _number(f"{folder}/{_FILES[version][0]}")
        if limit is not None and limit < _NO_LIMIT:
            yield folder, version, limit


def _number(path: str) -> int | None:
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        return int(file.read())
    return None


def _numbers(path: str) -> dict[str, int]:
    """The lines of a file, each a name and a number."""
    found = {}
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        for line in file:
            name, _, number = line.partition(" ")
            found[name] = int(number)
    return found
