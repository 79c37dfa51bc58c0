"""Whether a process is still there, as another one can tell.

A pid alone says little: numbers are used again, every container counts its own, and on a shared
volume it may be another machine's. Boot id, pid namespace, number and start time together name a
process for good. Who shares the first two can ask the kernel; nobody else can know.
"""

from __future__ import annotations

import os

from msgspec import Struct


class Process(Struct, frozen=True):
    """A process, as others on its machine can recognise it.

    Attributes:
        boot: of the kernel; empty when others cannot tell whether the process is there.
        namespace: what its pid is relative to.
        pid: its number.
        start: when it began, in the kernel's ticks.
    """

    boot: str
    namespace: str
    pid: int
    start: int


def this_process() -> Process:
    """The process that asks."""
    pid = os.getpid()
    try:
        # A /proc of another namespace counts processes differently.
        if os.readlink("/proc/self") != str(pid):
            return Process("", "", pid, 0)
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return Process(boot, os.readlink("/proc/self/ns/pid"), pid, _state_and_start(pid)[1])
    except (OSError, ValueError, IndexError):
        return Process("", "", pid, 0)


def is_running(process: Process) -> bool | None:
    """Whether that process is there; None when that cannot be told from here."""
    here = this_process()
    if not here.boot or (process.boot, process.namespace) != (here.boot, here.namespace):
        return None
    try:
        os.kill(process.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is somebody else's, and /proc may hide it
    try:
        state, start = _state_and_start(process.pid)
    except (OSError, ValueError, IndexError):
        return None
    return start == process.start and state not in {"Z", "X"}


def _state_and_start(pid: int) -> tuple[str, int]:
    """Fields 3 and 22 of proc(5)'s stat; the second, a name, may hold anything."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return fields[0].decode("ascii"), int(fields[19])
