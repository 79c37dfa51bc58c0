"""Starts a thread, in a program that may be interrupted at that moment (Ctrl-C).

``Thread.start`` waits until the thread runs, which takes long on a busy machine. An interrupt ends
this wait, but not the thread. So the caller remembers the thread before it starts it, and ends it
in any case.
"""

from __future__ import annotations

import threading


def start(thread: threading.Thread) -> bool:
    """Whether the thread is started; False if no more threads can be.

    After an interrupt, it may run or not.
    """
    try:
        thread.start()
    except RuntimeError as error:
        # At some moments, Python lets an interrupt look like this.
        if isinstance(error.__context__, Exception | None):
            return False
        raise error.__context__ from None
    return True
