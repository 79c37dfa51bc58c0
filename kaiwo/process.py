"""The process around a command: its log lines, its signals, its exit code.

Only results go to stdout; logs, bars and errors go to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from kaiwo import redact
from kaiwo.errors import ConfigError, KaiwoError, StoppedError, exit_code_of

if TYPE_CHECKING:
    from rich.console import Console

#: Names of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
logger = logging.getLogger("kaiwo")


def guarded(command: Callable[[], int]) -> int:
    """Run a command; its errors become one message and an exit code.

    A signal ends the process at once, whatever a worker is waiting for: a target never holds
    partial bytes, so there is nothing to finish.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        return command()
    except Interrupted as interrupted:
        logger.error("%s", interrupted.error.message)  # noqa: TRY400 - no trace for a signal
        _leave(exit_code_of(interrupted.error))
    except KaiwoError as error:
        _log_if_silent()
        logger.error("%s", redact.text(error.message))  # noqa: TRY400 - no trace but at DEBUG
        if logger.isEnabledFor(logging.DEBUG) and not isinstance(error, ConfigError):
            logger.debug("%s", redact.text(traceback.format_exc()))
        return exit_code_of(error)
    except Exception as error:
        _log_if_silent()
        trace = "".join(traceback.format_tb(error.__traceback__))
        text = "a defect of kaiwo, please report it: %s\n%s"
        logger.critical(text, type(error).__name__, redact.text(trace))
        return 1


class Interrupted(BaseException):
    """Raised by a signal wherever the main thread is; no ``except Exception`` may swallow it."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        text = f"stopped by {name}; what is complete is in place, a further run goes on from there"
        self.error = StoppedError(text, number)
        super().__init__(self.error)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signals are
    # A second one ends the process at once.
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


def run_and_leave(command: Callable[[], object]) -> NoReturn:
    """Run a program of typer's as the whole process.

    It collects garbage seldom, for it makes few cycles and many objects that live to its end; and
    it leaves without taking itself apart, which is a fifth of a short run: all that it wrote is
    written, and no thread has anything to lose.
    """
    gc.set_threshold(50_000, 50, 50)
    _keep_buffers()
    code: object = 0
    try:
        command()
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    _leave(code if isinstance(code, int) else int(code is not None))


def _keep_buffers() -> None:
    """Have the C library keep the memory of freed buffers for the next ones.

    glibc gives 8 MiB back to the kernel as soon as they are free, and the kernel clears every page
    of them anew for the next range: a tenth of the processor time of a large object.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 64 << 20)


def _leave(code: int) -> NoReturn:
    """End the process without waiting for its threads."""
    with contextlib.suppress(OSError):  # who read it has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


@functools.cache
def console() -> Console:
    """The one rich console: log lines and the bar must not draw over each other."""
    from rich.console import Console  # noqa: PLC0415 - on a terminal only

    return Console(stderr=True)


def early_level(option: str | None) -> str:
    """The level to begin with, before it is known what the file says."""
    level = (option or os.environ.get("KAIWO_LOG_LEVEL", "")).upper()
    return level if level in LEVELS else "INFO"


def log_to_stderr(level: str) -> None:
    """Send kaiwo's log lines to stderr: rich on a terminal, plain elsewhere.

    The SDKs' own lines stay silent: they quote headers and signed addresses.
    """
    logger.setLevel(level)
    if logger.handlers:
        return
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.highlighter import NullHighlighter  # noqa: PLC0415 - on a terminal only
        from rich.logging import RichHandler  # noqa: PLC0415

        # Names of objects are neither markup nor numbers to be coloured.
        handler = RichHandler(
            console=console(), markup=False, highlighter=NullHighlighter(), show_path=False
        )
        handler.setFormatter(logging.Formatter("%(message)s", "[%X]"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())


def _log_if_silent() -> None:
    if not logger.handlers:
        log_to_stderr("INFO")
