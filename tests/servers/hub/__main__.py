"""A Hugging Face Hub for tests; serves until SIGTERM."""

import argparse
import asyncio
import contextlib
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from aiohttp import web

from tests.servers import serving, xet
from tests.servers.hub.repositories import Store
from tests.servers.hub.service import Hub


@contextlib.asynccontextmanager
async def listening(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], port: int
) -> AsyncIterator[str]:
    """Serves on a port, 0 for a free one; yields the URL. No router: paths stay as they came."""
    server = web.Server(answer, access_log=None, handler_cancellation=True)
    # Not 0, which aiohttp takes for no limit: a stalled request would keep the server alive.
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, serving.HOST, port, backlog=512).start()
        yield f"http://{serving.HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def all_hosts(hub: Hub, port: int) -> AsyncIterator[dict[str, str]]:
    async with contextlib.AsyncExitStack() as hosts:
        endpoint_url = await hosts.enter_async_context(listening(hub.answer_hub, port))
        hub.lfs_url = await hosts.enter_async_context(listening(hub.answer_lfs, 0))
        settings = {"endpoint_url": endpoint_url, "lfs_url": hub.lfs_url, "token": hub.token}
        if hub.cas:
            hub.cas.url = await hosts.enter_async_context(listening(hub.answer_xet, 0))
            settings["xet_url"] = hub.cas.url
        yield settings


@contextlib.contextmanager
def hub(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Serve from an event loop in a thread; yields the settings."""
    with (
        tempfile.TemporaryDirectory(prefix=".seen-", dir=options.root) as keep,
        asyncio.Runner() as runner,
    ):
        xet_store = xet.Store(Path(keep) / "xet") if options.xet else None
        cas = xet.Cas(xet_store, options.sign_seconds) if xet_store else None
        store = Store(options.root, Path(keep), xet_store)
        hosts = all_hosts(
            Hub(store, options.token, options.page_size, options.sign_seconds, cas), options.port
        )
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield asyncio.run_coroutine_threadsafe(hosts.__aenter__(), loop).result()
        finally:
            asyncio.run_coroutine_threadsafe(hosts.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the folder to serve")
    parser.add_argument("--port", type=int, default=0, help="of the hub; default: a free one")
    parser.add_argument("--token", default="", help="the one valid token; default: none is valid")
    parser.add_argument("--page-size", type=int, default=1000, help="entries in a page of a tree")
    parser.add_argument("--sign-seconds", type=float, default=3600.0, help="how long a URL lives")
    parser.add_argument("--xet", action="store_true", help="LFS files in a Xet store, too")
    serving.run(hub(parser.parse_args()))
