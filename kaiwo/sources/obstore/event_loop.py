"""An event loop in a thread of its own, for asynchronous calls of plain threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class Loop:
    """Runs until it is closed; what is asked of it afterwards would wait for ever."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def result(self, call: Coroutine[Any, Any, _T]) -> _T:
        """What an asynchronous call gives, when it is there."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def close(self) -> None:
        """Cancel the calls that are under way: a thread that waits for one must not for ever."""
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
