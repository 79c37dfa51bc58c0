"""Hosts that aiohttp serves, on an event loop in a thread."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from aiohttp import web

from tests.servers import serving

T = TypeVar("T")

#: Not 0, which aiohttp takes for no limit: a stalled request would keep the server alive.
_SHUTDOWN_S = 0.1


@contextlib.asynccontextmanager
async def running(runner: web.BaseRunner, port: int = 0) -> AsyncIterator[str]:
    """Serve on a port, 0 for a free one; yields the URL."""
    await runner.setup()
    try:
        await web.TCPSite(runner, serving.HOST, port, backlog=512).start()
        yield f"http://{serving.HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def listening(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    port: int = 0,
    **settings: Any,
) -> AsyncIterator[str]:
    """Serve without a router: paths stay as they came."""
    server = web.Server(answer, access_log=None, handler_cancellation=True, **settings)
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
    async with running(runner, port) as url:
        yield url


@contextlib.contextmanager
def in_event_loop(hosts: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter these hosts on an event loop in a thread, and leave them with the block."""
    with asyncio.Runner() as loops:
        loop = loops.get_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield asyncio.run_coroutine_threadsafe(hosts.__aenter__(), loop).result()
        finally:
            asyncio.run_coroutine_threadsafe(hosts.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
