"""A Google Cloud Storage for tests; serves until SIGTERM."""

import argparse
import asyncio
import contextlib
import json
import secrets
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.servers import serving
from tests.servers.gcs_standin.storage import EMAIL, PROJECT, Storage


@contextlib.asynccontextmanager
async def listening(storage: Storage, port: int) -> AsyncIterator[str]:
    """Serves on a port, 0 for a free one; yields the URL. No router: paths stay as they came."""
    # What is sent packed is stored packed.
    server = web.Server(
        storage.answer, access_log=None, auto_decompress=False, handler_cancellation=True
    )
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, serving.HOST, port, backlog=512).start()
        yield f"http://{serving.HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def service_account(key: rsa.RSAPrivateKey, url: str) -> dict[str, str]:
    """Of a client whose tokens come from here."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "100000000000000000001",
        "token_uri": f"{url}/token",
    }


@contextlib.contextmanager
def gcs_standin(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Serve from an event loop in a thread; yields the settings of a client."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with (
        tempfile.TemporaryDirectory(prefix="kaiwo-gcs-") as folder,
        asyncio.Runner() as runner,
    ):
        storage = Storage(Path(folder), options.token, options.page_size, key)
        host = listening(storage, options.port)
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            storage.url = asyncio.run_coroutine_threadsafe(host.__aenter__(), loop).result()
            file = Path(folder, "service-account.json")
            file.touch(mode=0o600)
            file.write_text(json.dumps(service_account(key, storage.url), indent=2))
            yield {
                "endpoint_url": storage.url,
                "project": PROJECT,
                "service_account_file": str(file),
                "token": storage.token,
            }
        finally:
            asyncio.run_coroutine_threadsafe(host.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--token", default="", help="the one valid token; default: none is needed")
    parser.add_argument(
        "--page-size", type=int, default=1000, help="entries in a page of a listing"
    )
    serving.run(gcs_standin(parser.parse_args()))
