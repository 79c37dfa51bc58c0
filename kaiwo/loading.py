"""SDKs are loaded by one thread at a time.

Modules of an SDK import each other. Where two threads load such modules at once, Python gives one
of them a module that is not complete, rather than let both wait for ever. Sources are opened by
several threads, so everything that loads an SDK does it inside this block.

A child that is forked in the meantime would have modules that never become complete, and would
wait for ever at its next ``import``. So a fork waits until no other thread is in such a block,
nor loads another module for kaiwo, as the frames of the threads show. What other threads load all
the same, for the program or since that look, the child loads anew.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
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


class _Fork(threading.local):
    """Whether the fork of this thread has the turn."""

    has_turn = False


class _Turn:
    """Whose turn it is; a forked child must not wait for a thread of its parent."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.lock = threading.RLock()
        self._fork = _Fork()

    def take(self) -> None:
        """For a fork: nothing is loaded until it is over."""
        has_pools = _POOLS in sys.modules
        # An interrupt ends the wait, and is lost: Python ignores exceptions here.
        with contextlib.suppress(KeyboardInterrupt):
            self._fork.has_turn = self.lock.acquire(timeout=_LONGEST_WAIT_S)
            _wait_for_imports()
        pools = None if has_pools else sys.modules.get(_POOLS)
        if lock := getattr(pools, "_global_shutdown_lock", None):
            lock.acquire()

    def give_back(self) -> None:
        """The fork is over, in the parent."""
        if self._fork.has_turn:
            self._fork.has_turn = False
            self.lock.release()

    def renew(self) -> None:
        """The fork is over, in the child."""
        self._begin()
        _forget_what_others_load()


_turn = _Turn()
os.register_at_fork(before=_turn.take, after_in_parent=_turn.give_back, after_in_child=_turn.renew)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """A block that loads modules, and that no other thread is in."""
    with _turn.lock:
        yield


def _wait_for_imports() -> None:
    """Wait until no other thread loads a module for kaiwo."""
    end_s = time.monotonic() + _LONGEST_WAIT_S
    while _are_loading() and time.monotonic() < end_s:
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
    # Before Python 3.12, this waits for ever if garbage is collected in it, what is collected lets
    # another thread run, and that one begins or ends a thread (python/cpython#106883).
    collects = gc.isenabled()
    gc.disable()
    try:
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way to look
    finally:
        if collects:
            gc.enable()
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


def _forget_what_others_load() -> None:
    """In a child: modules that no thread will complete are loaded anew by who imports them."""
    locks = getattr(importlib._bootstrap, "_module_locks", {})  # noqa: SLF001
    found = {name: reference() for name, reference in list(locks.items())}
    own = {name for name, lock in found.items() if lock and lock.owner == threading.get_ident()}
    for name in found.keys() - own:
        locks.pop(name, None)
        module_spec = getattr(sys.modules.get(name), "__spec__", None)
        if getattr(module_spec, "_initializing", False):
            del sys.modules[name]
