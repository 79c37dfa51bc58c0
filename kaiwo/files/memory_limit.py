"""How much memory this process may use: the limit of its pod or control group."""

from __future__ import annotations

import contextlib

#: Version 1 of cgroups says "no limit" by a number that is larger than any memory.
_NO_LIMIT = 1 << 60


def memory_limit(proc: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> int | None:
    """The limit of this process's cgroup in bytes, version 1 or 2; None if no limit is visible.

    In a container the limit is at the root, not at the path that ``proc`` names; elsewhere it is at
    that path.
    """
    files = {f"{root}/memory.max", f"{root}/memory/memory.limit_in_bytes"}
    with contextlib.suppress(OSError), open(proc, encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if not controllers:
                files.add(f"{root}{path}/memory.max")
            elif "memory" in controllers.split(","):
                files.add(f"{root}/memory{path}/memory.limit_in_bytes")
    found = []
    for name in files:
        with contextlib.suppress(OSError, ValueError), open(name, encoding="ascii") as file:
            found.append(int(file.read()))
    return min((limit for limit in found if limit < _NO_LIMIT), default=None)
