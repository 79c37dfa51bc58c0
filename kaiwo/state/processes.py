"""Whether the process of another run is still running.

A pid alone says little: the kernel reuses numbers, every container counts its own processes, and on
a shared volume the process may be on another machine. Boot id, pid namespace, pid and start time
together identify a process for good. A process with the same boot id and namespace can ask the
kernel; no other can know.
"""

from __future__ import annotations

import os

from msgspec import Struct


class Process(Struct, frozen=True):
    """A process, as others on its machine can identify it.

    Attributes:
        boot: boot id of the kernel; empty if other processes cannot ask about this one.
        namespace: the pid namespace.
        pid: its number there.
        start: its start time in the kernel's ticks.
    """

    boot: str
    namespace: str
    pid: int
    start: int


def this_process() -> Process:
    """The process that calls this."""
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
    """Whether that process is running; None if this process cannot know."""
    here = this_process()
    if not here.boot or (process.boot, process.namespace) != (here.boot, here.namespace):
        return None
    try:
        os.kill(process.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is another user's, and /proc may hide it
    try:
        state, start = _state_and_start(process.pid)
    except (OSError, ValueError, IndexError):
        return None
    return start == process.start and state not in {"Z", "X"}


def _state_and_start(pid: int) -> tuple[str, int]:
    """Fields 3 and 22 of stat in proc(5); field 2, a name, may hold spaces and brackets."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return fields[0].decode("ascii"), int(fields[19])
