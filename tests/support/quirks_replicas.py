"""Files behind several servers, each of which states its own etag or date of the same bytes."""

from __future__ import annotations

import email.utils
import http.server
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.servers import serving
from tests.support.proxies import Answer, Spoil

#: A date of each server, all of them long ago.
DATES = [email.utils.formatdate(1_600_000_000 + 1_000 * n, usegmt=True) for n in range(1_000)]
#: Headers of the server of that number.
Headers = Callable[[int], dict[str, str]]


def other_etags(number: int) -> dict[str, str]:
    """Each server has its own etag, and the same date."""
    return {"ETag": f'"{number:032x}"', "Last-Modified": DATES[0]}


def other_dates(number: int) -> dict[str, str]:
    """Each server has its own date, and no etag."""
    return {"Last-Modified": DATES[number]}


def other_both(number: int) -> dict[str, str]:
    """Each server has its own etag and its own date."""
    return {"ETag": f'"{number:032x}"', "Last-Modified": DATES[number]}


@contextmanager
def replicas(data: Callable[[], bytes], headers: Headers) -> Iterator[str]:
    """The address of a file that another server answers each time; it knows ranges."""
    numbers = itertools.count()

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = data()
            size, asked = len(body), self.headers.get("Range", "")
            first, _, last = asked.removeprefix("bytes=").partition("-")
            if asked:
                body = body[int(first) : int(last) + 1]
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            for name, value in headers(next(numbers)).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the library's name

    with serving.listening(Handler) as address:
        yield f"{address}/model.bin"


def spoiled(headers: Headers) -> Spoil:
    """A store's answers about objects, each from another server."""
    numbers = itertools.count()

    def spoil(_: str, __: str, answer: Answer) -> Answer:
        if answer.status >= 300 or not any(name.lower() == "etag" for name in answer.headers):
            return answer
        lost = {"etag", "last-modified"}
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in lost}
        return replace(answer, headers={**kept, **headers(next(numbers))})

    return spoil
