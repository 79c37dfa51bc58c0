"""A Hugging Face Hub for tests; serves until SIGTERM."""

import argparse
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.servers import serving, xet
from tests.servers.event_loop import in_event_loop, listening
from tests.servers.hub.repositories import Store
from tests.servers.hub.service import Hub


@contextlib.asynccontextmanager
async def all_hosts(hub: Hub, port: int) -> AsyncIterator[dict[str, str]]:
    async with contextlib.AsyncExitStack() as hosts:
        endpoint_url = await hosts.enter_async_context(listening(hub.answer_hub, port))
        hub.lfs_url = await hosts.enter_async_context(listening(hub.answer_lfs))
        settings = {"endpoint_url": endpoint_url, "lfs_url": hub.lfs_url, "token": hub.token}
        if hub.cas:
            hub.cas.url = await hosts.enter_async_context(listening(hub.answer_xet))
            settings["xet_url"] = hub.cas.url
        yield settings


@contextlib.contextmanager
def hub(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Serve from an event loop in a thread; yields the settings."""
    with tempfile.TemporaryDirectory(prefix=".seen-", dir=options.root) as keep:
        xet_store = xet.Store(Path(keep) / "xet") if options.xet else None
        cas = xet.Cas(xet_store, options.sign_seconds) if xet_store else None
        store = Store(options.root, Path(keep), xet_store)
        hub = Hub(store, options.token, options.page_size, options.sign_seconds, cas, options.rate)
        with in_event_loop(all_hosts(hub, options.port)) as settings:
            yield settings


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the folder to serve")
    parser.add_argument("--port", type=int, default=0, help="of the hub; default: a free one")
    parser.add_argument("--token", default="", help="the one valid token; default: none is valid")
    parser.add_argument("--page-size", type=int, default=1000, help="entries in a page of a tree")
    parser.add_argument("--sign-seconds", type=float, default=3600.0, help="how long a URL lives")
    parser.add_argument("--rate", type=int, default=0, help="bytes of files a second, of each line")
    parser.add_argument("--xet", action="store_true", help="LFS files in a Xet store, too")
    serving.run(hub(parser.parse_args()))
