"""Results go to stdout: as lines that every terminal can show, and paths as they are.

Where a program asked for JSON, it gets some in place of a result, too:

{"version": 1, "kaiwo_version": …, "ok": false, "exit_code": 4, "error": {"kind": …, "message": …}}
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from kaiwo import units
from kaiwo.errors import cause_of


@contextlib.contextmanager
def errors_as_json(wanted: bool) -> Iterator[None]:
    """A block whose results are JSON: an error is printed there, and raised again."""
    try:
        yield
    except BrokenPipeError:
        raise
    except BaseException as error:
        if wanted:
            from kaiwo.reporting import json_report  # noqa: PLC0415 - for errors only

            show([json.dumps(json_report.of_error(cause_of(error)), indent=2)])
        raise


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
