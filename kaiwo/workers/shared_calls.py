"""A call that several threads need at the same time is made once, and all of them get its end.

The first thread makes the call. The others wait for it, and return what it returned or raise what
it raised. Nothing is kept: who comes after its end makes the call again. Calls with other keys go
on meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
T = TypeVar("T")


class SharedCalls(Generic[KeyT, T]):
    """The calls that are under way. Called from many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[KeyT, Future[T]] = {}

    def make(self, key: KeyT, call: Callable[[], T]) -> T:
        """The result of the call of that key that is under way; without one, of this call."""
        with self._lock:
            known = self._under_way.get(key)
            mine = self._under_way[key] = known or Future()
        if known is not None:
            return known.result()
        try:
            result = call()
        except BaseException as error:
            self._forget(key)
            mine.set_exception(error)
            raise
        self._forget(key)
        mine.set_result(result)
        return result

    def _forget(self, key: KeyT) -> None:
        with self._lock:
            del self._under_way[key]
