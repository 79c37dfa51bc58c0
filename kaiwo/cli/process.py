"""The process around a command: how it ends, and with which exit code.

Only results go to stdout; logs, bars and errors go to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, cast

from kaiwo import redact
from kaiwo.cli import signals
from kaiwo.cli.logs import early_format, log_if_silent, logger
from kaiwo.errors import ConfigError, Interrupted, KaiwoError, exit_code_of
from kaiwo.files import process_limits

if TYPE_CHECKING:
    from kaiwo.config.diagnostics import InvalidConfigError

#: Names of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def guarded(command: Callable[[], int]) -> int:
    """Run a command; turn its errors into one message and an exit code.

    A signal ends the process without waiting for workers: a target never holds partial bytes, so
    there is nothing to finish.
    """
    try:
        signals.watch(as_json=early_format() == "json")
        return command()
    except Interrupted as interrupted:
        log_if_silent()
        logger.error("%s", interrupted.error.message)
        _leave(exit_code_of(interrupted.error))
    except BrokenPipeError:
        # The reader of the results has gone, as in ``kaiwo schema | head``.
        return 128 + signal.SIGPIPE
    except KaiwoError as error:
        log_if_silent()
        if getattr(error, "diagnostics", ()):
            from kaiwo.cli import faults  # noqa: PLC0415 - what raised it has loaded the rest

            faults.show(cast("InvalidConfigError", error))
        else:
            logger.error("%s", redact.text(error.message))
        if logger.isEnabledFor(logging.DEBUG) and not isinstance(error, ConfigError):
            trace = redact.text(traceback.format_exc())
            logger.debug("traceback of this error", extra={"trace": trace})
        return exit_code_of(error)
    except BaseException as error:  # a panic in Rust is no Exception
        log_if_silent()
        trace = redact.text("".join(traceback.format_tb(error.__traceback__)))
        text = "this is a bug in kaiwo; please report it: %s"
        logger.critical(text, type(error).__name__, extra={"trace": trace})
        return 1


def run_and_leave(program: Callable[..., object]) -> NoReturn:
    """Run a typer program as the whole process.

    The process ends without the interpreter's clean-up, which is a fifth of a short run: all output
    is written by then, and no thread has anything to lose.
    """
    _keep_buffers()
    process_limits.raise_file_limit()
    try:
        code = program(standalone_mode=False)
    except Exception as error:
        # A usage error; typer's version decides which package defines its class.
        if not hasattr(error, "format_message"):
            raise
        code = _misused(error)
    except SystemExit as end:
        code = end.code
    _leave(code if isinstance(code, int) else 0)


def _misused(error: Any) -> int:
    """Say what is wrong with the command line."""
    with contextlib.suppress(OSError):  # the reader has gone
        if early_format() == "json":
            log_if_silent()
            logger.error("%s", error.format_message() or "a command is needed; see --help")
        else:
            error.show()
    return int(error.exit_code)


def _keep_buffers() -> None:
    """Have the C library keep the memory of freed buffers for the next buffers.

    glibc returns 8 MiB to the kernel as soon as they are free, and the kernel clears every page
    again for the next range: a tenth of the processor time of a large object.

    Where address space is limited, all threads share one pool: glibc reserves 64 MiB for each.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
        if process_limits.has_space_limit():
            libc.mallopt(_ARENA_MAX, 1)


def _leave(code: int) -> NoReturn:
    """End the process without waiting for its threads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader has gone
            stream.flush()
    os._exit(code)
