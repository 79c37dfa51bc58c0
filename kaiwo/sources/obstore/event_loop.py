"""An event loop in a separate thread, for asynchronous calls from plain threads.

fsspec has such a loop too, but it never ends and all filesystems share it; and most runs with
obstore load no fsspec.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoop:
    """Runs until it is closed; a call after that would wait forever.

    Raises:
        RuntimeError: no thread can be started.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        except RuntimeError:
            self._loop.close()
            raise

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run an asynchronous call, and wait for its result."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def close(self) -> None:
        """Cancel the calls that are under way, so that no thread waits for one forever."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _end(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        self._loop.call_soon(self._loop.stop)
