"""A control group with a limit of memory, as a pod has one; root may make one, nobody else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
#: Where a group may be made, and the file of its limit: version 2 of control groups, then 1.
_VERSIONS = ((_ROOT, "memory.max"), (_ROOT / "memory", "memory.limit_in_bytes"))


@contextlib.contextmanager
def limited(size: int) -> Iterator[Path]:
    """A group whose processes get that much memory, in bytes; yields the file that takes their ids.

    Raises:
        OSError: no such group can be made here.
    """
    for top, limit in _VERSIONS:
        # The kernel makes the file: a plain folder, and a group without memory, have none.
        if list(top.glob(f"*/{limit}")):
            group = top / f"kaiwo-bench-{os.getpid()}"
            group.mkdir()
            try:
                (group / limit).write_text(str(size), encoding="ascii")
                yield group / "cgroup.procs"
            finally:
                group.rmdir()
            return
    raise FileNotFoundError(f"no control group of {_ROOT} limits memory")
