"""An event loop in a separate thread, for asynchronous calls from plain threads.

fsspec has such a loop too, but it never ends and all filesystems share it; and most runs with
obstore load no fsspec.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from kaiwo.errors import UnfinishedError
from kaiwo.files import new_threads

T = TypeVar("T")
#: It ends as soon as its calls are cancelled.
_ENDS_IN_S = 1.0


class EventLoop:
    """Runs until it is closed; calls of that moment and later ones raise UnfinishedError.

    Raises:
        RuntimeError: no thread can be started.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        try:
            is_started = new_threads.start(self._thread)
        except BaseException:  # an interrupt: nobody would close it
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise
        if not is_started:
            self._loop.close()
            raise RuntimeError("can't start new thread")  # as Python says it

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run an asynchronous call, and wait for its result."""
        try:
            return self.submit(call).result()
        except CancelledError:
            raise UnfinishedError("the source was closed") from None

    def submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        """Start an asynchronous call; ``close`` cancels it."""
        with self._lock:
            if self._is_closed:
                call.close()
                raise UnfinishedError("the source is closed")
            return asyncio.run_coroutine_threadsafe(call, self._loop)

    def close(self) -> None:
        """Cancel the calls that are under way, so that no thread waits for one forever."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join(_ENDS_IN_S)

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _end(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        self._loop.call_soon(self._loop.stop)
