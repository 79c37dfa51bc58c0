"""What SIGTERM and SIGINT do to a running command: it cleans up and ends.

    the first signal               raises Interrupted in the main thread
    a second signal                ends the process at once
    PATIENCE_S after the first     ends the process too, when cleaning up hangs

The main thread may be in a call that no exception can end (a name lookup, a file system that
hangs), and a destructor may swallow an exception. So the interpreter also writes each signal into a
pipe, and a separate thread reads the pipe.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from types import FrameType

from kaiwo.cli import bootstrap
from kaiwo.errors import Interrupted, StoppedError

#: The promise is five seconds, on a busy machine too.
PATIENCE_S = 3.5


def watch(*, as_json: bool) -> None:
    """From now on, handle signals as said above. ``as_json`` is the form of the last line."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # Without the thread, the first signal still ends the command as soon as the main thread can.
    with contextlib.suppress(RuntimeError):  # no thread can be started
        threading.Thread(
            target=_end_in_time, args=(reader, as_json), name="kaiwo-signals", daemon=True
        ).start()
    for number in bootstrap.SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signals are
    for each in bootstrap.SIGNALS:
        signal.signal(each, _leave_to_the_thread)
    name = signal.Signals(number).name
    text = f"stopped by {name}; complete files are in place, and the next run resumes"
    raise Interrupted(StoppedError(text, number))


def _leave_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Do nothing. Python writes a signal into the pipe only if it has a handler."""


def _end_in_time(reader: int, as_json: bool) -> None:
    """Wait for the first signal; end the process when cleaning up takes too long after it."""
    number = _next(reader, None)
    second = _next(reader, PATIENCE_S)
    bootstrap.show_cursor()
    why = "a second signal" if second else f"cleaning up took more than {PATIENCE_S:g} s"
    bootstrap.say(f"stopped by {signal.Signals(number or 0).name} at once: {why}", as_json=as_json)
    os._exit(128 + (number or 0))


def _next(reader: int, timeout_s: float | None) -> int | None:
    """The next SIGTERM or SIGINT; None when the time is over."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left_s = None if deadline_s is None else max(deadline_s - time.monotonic(), 0.0)
        # Not ``select``, which takes no descriptor above 1023: a host may have given us one.
        if not poll.poll(None if left_s is None else left_s * 1000):
            return None
        (number,) = os.read(reader, 1)
        if number in bootstrap.SIGNALS:
            return int(number)
