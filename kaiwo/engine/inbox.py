"""What other threads say to the one that owns it, in order."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue with one reader, whose wait ends in time, or by a signal's exception.

    ``SimpleQueue.get`` with a timeout waits for ever where that time passes before the wait begins,
    as it does on a busy machine (CPython 3.7 to 3.14). ``Queue`` is Python's own code: an exception
    of a signal's handler can leave it locked.
    """

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[T] = queue.SimpleQueue()
        #: Free when there may be something that the reader has not seen.
        self._bell = threading.Lock()

    def put(self, item: T) -> None:
        """Say this; in any thread."""
        self._items.put(item)
        with contextlib.suppress(RuntimeError):  # it is free already
            self._bell.release()

    def is_empty(self) -> bool:
        """Whether nothing waits to be read."""
        return self._items.empty()

    def get(self, timeout_s: float) -> T | None:
        """The next item; None if none comes within that time."""
        end_s = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(queue.Empty):
                return self._items.get_nowait()
            if not self._bell.acquire(timeout=max(end_s - time.monotonic(), 0.0)):
                return None
