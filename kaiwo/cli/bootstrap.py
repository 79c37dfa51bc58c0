"""The first thing that the process does: handle signals, and open the standard streams.

A container's process is PID 1, which ignores every signal without a handler, and kaiwo's imports
take a quarter of a second. So this module comes first, and itself imports almost nothing, because a
handler may run in the middle of any other import.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def begin() -> None:
    """From now on, a signal ends the process with one line, and 128 more than its number.

    Garbage collection is made rare. Modules live to the end, and one pass over them takes 10 ms of
    a start of 140 ms; a run makes few cycles, and most of its objects live to its end too.
    """
    gc.set_threshold(200_000, 50, 50)
    # pydantic loads the plugins of every installed package; they would see all values and secrets.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _open_standard_streams()
    for number in SIGNALS:
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signals are
    say(f"stopped by {signal.Signals(number).name}; nothing was downloaded", as_json=wants_json())
    os._exit(128 + number)


def wants_json() -> bool:
    """Whether option or environment ask for log lines in JSON, before either is validated."""
    given = os.environ.get("KAIWO_LOG_FORMAT", "")
    words = [word for each in sys.argv[1:] for word in each.split("=", 1)]
    if "--log-format" in words[:-1]:
        given = words[words.index("--log-format") + 1]
    return given.lower() == "json"


def say(message: str, *, as_json: bool) -> None:
    """Write an error line to stderr by a system call; drop it if the reader would block."""
    now_s = time.time()
    fraction = int(now_s % 1 * 1000)
    if as_json:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
        head = f'{{"time": "{stamp}.{fraction:03}Z", "level": "ERROR", "logger": "kaiwo", '
        line = f'{head}"message": "{message}"}}\n'
    else:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now_s))
        line = f"{stamp},{fraction:03} ERROR {message}\n"
    _write(line.encode())


def show_cursor() -> None:
    """Show the cursor of the terminal, which a bar hides, before the process ends at once."""
    if os.isatty(2) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        _write(b"\x1b[?25h")


def _write(line: bytes) -> None:
    try:
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        if poll.poll(0):
            os.write(2, line)
    except OSError:
        pass  # the reader has gone


def _open_standard_streams() -> None:
    """Open each closed stream on /dev/null; else the next opened file would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115
