"""What Linux alone has is asked for, never assumed: a module must not fail on macOS."""

from __future__ import annotations

import ast
from pathlib import Path

import kaiwo

#: Names of the standard library that macOS lacks, by module.
LINUX_ONLY = {
    "os": {
        "O_DIRECT", "O_LARGEFILE", "O_NOATIME", "O_PATH", "O_RSYNC", "O_TMPFILE",
        "copy_file_range", "eventfd", "getrandom", "getxattr", "listxattr", "memfd_create",
        "pidfd_open", "posix_fadvise", "posix_fallocate", "removexattr", "sched_getaffinity",
        "sched_setaffinity", "sched_setscheduler", "setns", "setxattr", "splice", "unshare",
    },
    "resource": {"RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_SIGPENDING", "prlimit"},
    "select": {"epoll"},
    "signal": {"pidfd_send_signal", "sigtimedwait", "sigwaitinfo"},
    "socket": {"SO_BINDTODEVICE", "SO_PEERCRED", "TCP_KEEPIDLE", "TCP_USER_TIMEOUT"},
}  # fmt: skip


def test_no_module_takes_for_granted_what_linux_alone_has() -> None:
    found = []
    for path in Path(kaiwo.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(ast.Name(module), name) if name in LINUX_ONLY.get(module, ()):
                    found.append(f"{path.name}:{node.lineno}: {module}.{name}")
    assert found == []
