"""SDKs are loaded by one thread at a time.

Modules of an SDK import each other. Where two threads load such modules at once, Python gives one
of them a module that is not complete, rather than let both wait for ever. Sources are opened by
several threads, so everything that loads an SDK does it inside this block.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class _Turn:
    """Whose turn it is; a forked child must not wait for a thread of its parent."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Nobody's."""
        self.lock = threading.RLock()


_turn = _Turn()
os.register_at_fork(after_in_child=_turn.renew)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """A block that loads modules, and that no other thread is in."""
    with _turn.lock:
        yield
