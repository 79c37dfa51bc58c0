"""Google Cloud Storage by gcp-storage-emulator, in memory, and a token endpoint beside it.

    python -m tests.servers.gcs [--port N]

What differs from Cloud Storage (emulator 2026.7): no HEAD, no pages of listings, no suffix ranges,
206 and not 416 beyond the end, `generation` and preconditions ignored, HTTP/1.0. An idle connection
holds up all others. Bytes are kept under normalized paths, so `a//b`, `a/b` and `a/b/` share them.

The emulator speaks the JSON interface, one request at a time, and looks at no token. Tokens are
checked where they are issued: the service account's key is generated here, and the endpoint that
its file names as `token_uri` grants a token only for an assertion signed with that key.
"""

import argparse
import contextlib
import functools
import http.server
import json
import logging
import tempfile
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_storage_emulator.server import RequestHandler  # type: ignore[import-untyped]
from gcp_storage_emulator.storage import Storage  # type: ignore[import-untyped]

from tests.servers import google_account, serving


class _Memory(Storage):  # type: ignore[misc]  # the emulator is not typed
    """The emulator's storage without its index file, which nobody reads in memory.

    It is serialized as a whole on each upload: 3,000 uploads take over a minute, else seconds.
    """

    def _write_config_to_file(self) -> None:
        pass


class _Listener(http.server.HTTPServer):
    """The emulator's own kind of server (one request at a time), with room for waiting clients."""

    request_queue_size = 512


class _TokenHandler(http.server.BaseHTTPRequestHandler):
    """Answers `POST /token` as Google's endpoint does: a token, or `invalid_grant` with reason."""

    def __init__(self, public_key: rsa.RSAPublicKey, *args: object) -> None:
        self.public_key = public_key
        super().__init__(*args)  # type: ignore[arg-type]  # what the server passes to any handler

    def do_POST(self) -> None:
        """Grant a token for an assertion that the service account signed for this endpoint."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = dict(urllib.parse.parse_qsl(body))
        host, port = self.connection.getsockname()
        url = f"http://{host}:{port}/token"
        asked = form.get("grant_type", ""), form.get("assertion", "")
        status, answer = google_account.grant(*asked, self.public_key, url)
        self._answer(answer, status)

    def _answer(self, answer: object, status: HTTPStatus) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Requests are not logged."""


@contextlib.contextmanager
def gcs(port: int) -> Iterator[dict[str, str]]:
    """Serve buckets on `port` (0: any free one); yields the settings of a client."""
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    key = google_account.new_key()
    tokens = http.server.ThreadingHTTPServer(
        (serving.HOST, 0), functools.partial(_TokenHandler, key.public_key())
    )
    handler = functools.partial(RequestHandler, _Memory(use_memory_fs=True))
    storage = _Listener((serving.HOST, port), handler)
    with (
        tempfile.TemporaryDirectory(prefix="kaiwo-gcs-") as folder,
        serving.in_thread(tokens),
        serving.in_thread(storage),
    ):
        token_url = f"http://{serving.HOST}:{tokens.server_port}/token"
        yield {
            "endpoint_url": f"http://{serving.HOST}:{storage.server_port}",
            "project": google_account.PROJECT,
            "service_account_file": google_account.write(Path(folder), key, token_url),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    serving.run(gcs(parser.parse_args().port))
