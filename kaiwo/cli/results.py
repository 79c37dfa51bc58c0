"""Results go to stdout: as lines that every terminal can show, and paths as they are."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from kaiwo import units


def width() -> int | None:
    """The columns of the terminal that stdout is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show(lines: Iterable[str]) -> None:
    """Print lines; letters that the terminal's encoding lacks are written as their numbers."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for line in lines:
        print(line)


def show_paths(paths: Iterable[Path]) -> None:
    """Print paths: on a terminal so that they harm nothing, else byte by byte, for scripts."""
    if sys.stdout.isatty():
        show(units.printable(str(path)) for path in paths)
        return
    sys.stdout.flush()
    sys.stdout.buffer.writelines(os.fsencode(path) + b"\n" for path in paths)
