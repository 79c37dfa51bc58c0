"""SDKs are loaded by one thread at a time.

Modules of an SDK import each other. Where two threads load such modules at once, Python gives one
of them a module that is not complete, rather than let both wait for ever. Sources are opened by
several threads, so everything that loads an SDK does it inside this block.

A child that is forked in the meantime would have modules that never become complete, and would
wait for ever at its next ``import``. So a fork waits until no other thread is in such a block,
nor loads another module for kaiwo, as the frames of the threads show. From that look to the fork
it holds the lock that each import begins with, so that none begins in between.
"""

from __future__ import annotations

import _imp
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

#: A fork takes its lock. It does that after it has waited only if this module was loaded later.
_LOADED_BEFORE = (logging,)
#: A fork takes its lock, too. If this is loaded meanwhile, it gives back what it has not taken.
_POOLS = "concurrent.futures.thread"
#: A fork waits no longer: the thread that loads may itself wait for the one that forks.
_LONGEST_WAIT_S = 10.0
_BETWEEN_LOOKS_S = 0.002
_IMPORTS = "<frozen importlib._bootstrap>"


class _Turn:
    """Whose turn it is; a forked child must not wait for a thread of its parent."""

    def __init__(self) -> None:
        self._is_of_fork = False
        self.renew()

    def renew(self) -> None:
        """Nobody's."""
        self.lock = threading.RLock()

    def take(self) -> None:
        """For a fork: nothing is loaded until it is over."""
        has_pools = _POOLS in sys.modules
        self._is_of_fork = self.lock.acquire(timeout=_LONGEST_WAIT_S)
        _hold_imports()
        if not has_pools and (
            lock := getattr(sys.modules.get(_POOLS), "_global_shutdown_lock", None)
        ):
            lock.acquire()

    def give_back(self) -> None:
        """The fork is over, in the parent."""
        _imp.release_lock()
        if self._is_of_fork:
            self._is_of_fork = False
            self.lock.release()

    def begin_child(self) -> None:
        """The fork is over, in the child."""
        _imp.release_lock()
        self.renew()


_turn = _Turn()
os.register_at_fork(
    before=_turn.take, after_in_parent=_turn.give_back, after_in_child=_turn.begin_child
)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """A block that loads modules, and that no other thread is in."""
    with _turn.lock:
        yield


def _hold_imports() -> None:
    """Wait until no other thread loads a module for kaiwo, and let no thread begin an import."""
    end_s = time.monotonic() + _LONGEST_WAIT_S
    while True:
        _imp.acquire_lock()
        if not _are_loading() or time.monotonic() >= end_s:
            return
        _imp.release_lock()
        time.sleep(_BETWEEN_LOOKS_S)


def _are_loading() -> bool:
    """Whether other threads load a module for kaiwo, or went on while they were looked at."""
    frames = _frames_of_others()
    if any(_loads(frame) for frame in frames.values()):
        return True
    # A function that has returned in the meantime no longer says who called it.
    now = _frames_of_others()
    return any(now.get(thread) is not frame for thread, frame in frames.items())


def _frames_of_others() -> dict[int, FrameType]:
    """Where each other thread is."""
    frames = sys._current_frames()  # noqa: SLF001 - there is no other way to look
    frames.pop(threading.get_ident(), None)
    return frames


def _loads(innermost: FrameType) -> bool:
    """Whether a thread is inside an import that one of kaiwo's modules asked for."""
    frame: FrameType | None = innermost
    imports = False
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            imports = True
        elif imports and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "kaiwo":
            return True
        frame = frame.f_back
    return False
