"""Keeping threads that pass the interpreter's lock to each other on one core.

A small object takes seven calls that let go of the lock: two of its request, five of its file. On
several cores, each wakes a thread on another core that finds the lock taken again: 15 switches for
an object of 4 kB instead of 4, and twice the time. On one core the lock simply goes round; the
engine's own threads, which need no lock, have the other cores to themselves.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Run this thread on the core that its process has for this; elsewhere than Linux, anywhere."""
    try:
        allowed = os.sched_getaffinity(0)
        # Every thread of a process has to choose the same, and processes different ones.
        chosen = sorted(allowed)[os.getpid() % len(allowed)]
        os.sched_setaffinity(0, {chosen})
    except (AttributeError, OSError):
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
