"""What the limits of this process allow: open files, address space (``ulimit``), processors.

A request needs a connection and a file, and for large objects a buffer and a thread's stack. A run
that knows its limits never meets them: beyond them, more fails than the request that was too much,
such as the import of a module or a line of a journal.
"""

from __future__ import annotations

import contextlib
import os
import resource

#: The command needs no more open files; some libraries visit all numbers below the limit.
MOST_FILES = 1 << 16
#: Open files of a request: its connection, and the file that it writes.
_FILES_EACH = 2
#: For modules, certificates, journals, and event loops that are not open yet.
_FILES_BESIDE = 24
#: Address space of a request: the stack of its thread (8 MiB), the pool that the C library reserves
#: for each thread (64 MiB), a range and its copy. Where Rust finds no memory, the process ends.
_SPACE_EACH = 96 << 20
_SPACE_BESIDE = 128 << 20


def raise_file_limit() -> None:
    """Raise the limit of open files to the highest that this process may have.

    For the command only. In somebody's program the limit is not kaiwo's: ``select`` fails on
    numbers above 1023, and children inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # the system allows less
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def processors(quota: str = "/sys/fs/cgroup/cpu.max") -> float:
    """How many processors this process may use, by its affinity and its control group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    allowed = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    with contextlib.suppress(OSError, ValueError), open(quota, encoding="ascii") as file:
        most, period = file.read().split()
        allowed = min(allowed, int(most) / int(period))
    return allowed


def has_space_limit() -> bool:
    """Whether the address space of this process is limited."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def most_requests() -> int | None:
    """How many requests at once the limits allow, at least 1; None where there are no limits."""
    allowed = [each for each in (_by_files(), _by_space()) if each is not None]
    return max(min(allowed), 1) if allowed else None


def _by_files() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        used = 16  # no /proc here
    return (limit - used - _FILES_BESIDE) // _FILES_EACH


def _by_space() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        used = 256 << 20
    return (limit - used - _SPACE_BESIDE) // _SPACE_EACH
