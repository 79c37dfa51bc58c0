"""A file system of a few MiB for one test, in a separate mount namespace.

Nothing must be unmounted: the file system ends with the process that holds the namespace. Without
root, a user namespace gives the right to mount.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Volume:
    """A small file system.

    Attributes:
        folder: where it is mounted, for commands that run in its namespace.
        seen: the same folder as every other process sees it.
        inside: the words that start a command in its namespace.
    """

    folder: Path
    seen: Path
    inside: tuple[str, ...]

    def remount(self, options: str) -> None:
        """Change it while it is in use: ``size=8m``, ``ro``."""
        command = [*self.inside, "mount", "-o", f"remount,{options}", str(self.folder)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)

    @property
    def free(self) -> int:
        """Bytes."""
        there = os.statvfs(self.seen)
        return there.f_bavail * there.f_frsize


@contextlib.contextmanager
def volume(folder: Path, options: str) -> Iterator[Volume]:
    """Mount one on a folder, which is made.

    Args:
        folder: absolute, without spaces.
        options: of tmpfs, such as ``size=4m,nr_inodes=100``.
    """
    folder.mkdir(parents=True)
    is_root = os.geteuid() == 0
    script = f"mount -t tmpfs -o {options} none {folder} && echo mounted && exec cat"
    try:
        process = subprocess.Popen(
            ["unshare", "-m" if is_root else "-rm", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        _cannot("there is no unshare here")
    assert process.stdout is not None
    with process:
        try:
            if process.stdout.readline() != "mounted\n":
                _cannot(f"no file system may be mounted: {process.communicate()[1].strip()}")
            user = () if is_root else ("--user", "--preserve-credentials")
            inside = ("nsenter", f"--target={process.pid}", "--mount", *user)
            yield Volume(folder, Path(f"/proc/{process.pid}/root{folder}"), inside)
        finally:
            process.kill()


def _cannot(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
