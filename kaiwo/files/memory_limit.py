"""How much memory this process may take: what a pod's limit comes to in the end."""

from __future__ import annotations

import contextlib

#: The first version of cgroups states a number of pages beyond all memory for no limit.
_NO_LIMIT = 1 << 60


def memory_limit(proc: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> int | None:
    """The bytes that this process's cgroup may take, of either version; None if no limit is seen.

    In a container the limit is at the root, whatever the path says; elsewhere, along the path.
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
