"""A store by way of a proxy that keeps what it was asked."""

from __future__ import annotations

import contextlib
import http.client
import http.server
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.servers import serving
from tests.support.proxies import base_of, by_way_of
from tests.support.stores import Store


@dataclass(frozen=True)
class Asked:
    """A request as a server got it; the names of headers are in lower case."""

    target: str
    headers: Mapping[str, str]


@contextlib.contextmanager
def recorded(store: Store) -> Iterator[tuple[Store, list[Asked]]]:
    """The store by way of a proxy that keeps what it was asked."""
    upstream = urlsplit(base_of(store)).netloc
    asked: list[Asked] = []

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(Asked(self.path, headers))
            body = self.rfile.read(int(headers.get("content-length", 0)))
            connection = http.client.HTTPConnection(upstream, timeout=30)
            with contextlib.closing(connection):
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                got = connection.getresponse()
                self.send_response(got.status)
                for name, value in got.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                body = got.read()
                length = got.headers.get("Content-Length") if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = pass_on  # noqa: N815 - the library's names

    with serving.listening(Handler) as address:
        yield by_way_of(store, address), asked
