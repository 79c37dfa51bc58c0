"""A reverse proxy that counts the requests for object bytes, and how many are in flight at once.

    python -m tests.servers.counting --upstream s3=URL --upstream gcs=URL ... [--delay-s S]

One port for each upstream and one counter for all, so that it can be shown what a client does to
several providers together. An upstream is NAME=URL or NAME:KIND=URL; KIND (s3, gcs, azure, hub;
the name if not given) decides which requests ask for object bytes, see `asks_for_bytes`. Method,
raw path and query, headers with Host, and bodies pass unchanged, so signatures stay valid; where
the upstream drops a connection, so does the proxy. The settings hold an address for each NAME,
and `stats`: GET it for the counts; POST to `/reset` of the same server clears them. After
`/reset?wanted=N`, answers with object bytes are held back until N of them are in flight at once:
how busy the machine is does not decide how many there are. A redirect to an upstream is sent to
its port here instead (`--upstream hub=HUB --upstream lfs:hub=LFS_HOST`).

A request is in flight from its arrival until just before the last piece of its answer is passed
on. (Ending after that piece would count a client's next request against the one that it has just
seen complete.) A hub's request is in flight from the moment its answer proves to be no redirect.
`--delay-s` holds back the answers to object GETs and counts as in flight; after the number that is
wanted, for one more to come.
"""

import argparse
import asyncio
import collections
import contextlib
import re
import urllib.parse
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

import aiohttp
import yarl
from aiohttp import web
from multidict import CIMultiDict

from tests.servers import event_loop, serving

KINDS = ("s3", "gcs", "azure", "hub")
_LINE_LIMIT = 64 << 10
#: A client that never has the wanted number in flight is answered after this time.
_PATIENCE_S = 30.0
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
# S3 requests with other parameters are about an object (acl, tagging, uploads) or a bucket.
_S3_GET_OBJECT = re.compile(r"(?i)(versionId|partNumber|x-id|response-.*|x-amz-.*)")


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server behind the proxy: `url` without a path."""

    name: str
    kind: str
    url: str

    @classmethod
    def parse(cls, text: str) -> "Upstream":
        """Read NAME=URL or NAME:KIND=URL."""
        label, _, url = text.partition("=")
        name, _, kind = label.partition(":")
        if (kind or name) not in KINDS or not url:
            message = f"not NAME=URL or NAME:KIND=URL with a KIND of {', '.join(KINDS)}: {text}"
            raise argparse.ArgumentTypeError(message)
        return cls(name, kind or name, url.rstrip("/"))


def asks_for_bytes(kind: str, method: str, target: str) -> bool:
    """Whether a request (method and raw path with query) asks for the bytes of an object."""
    path, _, query = target.partition("?")
    parameters = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    segments = path.removeprefix("/").split("/")
    if method != "GET":
        return False
    if kind == "s3":
        has_key = len(path.removeprefix("/").partition("/")[2]) > 0
        return has_key and all(_S3_GET_OBJECT.fullmatch(name) for name in parameters)
    if kind == "gcs":
        if segments[0] in ("storage", "b", "upload", "batch"):
            return parameters.get("alt") == "media"
        return len(segments) > 1 and segments[1] != ""
    if kind == "azure":
        return len(segments) > 2 and "restype" not in parameters and "comp" not in parameters
    return "resolve" in segments or "lfs" in segments


@dataclass(slots=True)
class Counts:
    """What passed since the start or the last reset. Touched by one event loop only."""

    requests: collections.Counter[str] = field(default_factory=collections.Counter)
    object_gets: collections.Counter[str] = field(default_factory=collections.Counter)
    in_flight: int = 0
    max_in_flight: int = 0
    log: list[dict[str, object]] = field(default_factory=list)
    wanted: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self, name: str) -> None:
        """Count an object GET that arrives."""
        self.object_gets[name] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        if self.max_in_flight >= self.wanted:
            self.reached.set()

    def leave(self) -> None:
        """Count an object GET that is answered."""
        self.in_flight -= 1

    def reset(self, wanted: int) -> None:
        """Forget what passed; what is in flight still is."""
        self.wanted = wanted
        self.reached.clear()
        self.requests.clear()
        self.object_gets.clear()
        self.log.clear()
        self.max_in_flight = self.in_flight

    def as_json(self) -> dict[str, object]:
        """The counts as `stats` answers them."""
        return {
            "requests": dict(self.requests),
            "object_gets": self.object_gets.total(),
            "object_gets_by_upstream": dict(self.object_gets),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "log": self.log,
        }


@dataclass(frozen=True, slots=True)
class Proxy:
    """The handler of one upstream's port. `ports` knows the proxy's address of each upstream."""

    upstream: Upstream
    ports: dict[str, str]
    counts: Counts
    session: aiohttp.ClientSession
    delay_s: float

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass one request on, and its answer back."""
        entry: dict[str, object] = {
            "upstream": self.upstream.name,
            "line": f"{request.method} {request.raw_path}",
            "range": request.headers.get("Range") or request.headers.get("x-ms-range"),
            "status": None,
        }
        self.counts.requests[request.method] += 1
        self.counts.log.append(entry)
        with contextlib.ExitStack() as flight:
            try:
                return await self._pass(request, entry, flight)
            except (aiohttp.ClientError, ConnectionError):
                # One side dropped its connection: to the other it must look the same.
                if request.transport is not None:
                    request.transport.abort()
                return web.Response(status=502)

    async def _pass(
        self, request: web.BaseRequest, entry: dict[str, object], flight: contextlib.ExitStack
    ) -> web.StreamResponse:
        """Stream the request up and the answer down; `flight` ends before the last piece."""
        kind = self.upstream.kind
        counted = asks_for_bytes(kind, request.method, request.raw_path)
        if counted and kind != "hub":
            self._enter(flight)
        if "Expect" in request.headers and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async with self.session.request(
            request.method,
            yarl.URL(self.upstream.url + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers.items()),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            entry["status"] = answer.status
            counted = counted and "Location" not in answer.headers
            if counted and kind == "hub":
                self._enter(flight)
            if counted:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.counts.reached.wait(), _PATIENCE_S)
                await asyncio.sleep(self.delay_s)
            return await self._answer(request, answer, flight)

    async def _answer(
        self,
        request: web.BaseRequest,
        answer: aiohttp.ClientResponse,
        flight: contextlib.ExitStack,
    ) -> web.StreamResponse:
        """Stream the answer down, one piece behind, so that its last piece is known as such."""
        headers = _end_to_end(answer.headers.items())
        location = headers.get("Location", "")
        for url, port in self.ports.items():
            if location.startswith(f"{url}/"):
                headers["Location"] = port + location.removeprefix(url)
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        await response.prepare(request)
        piece = b""
        async for following in answer.content.iter_any():
            if piece:
                await response.write(piece)
            piece = following
        flight.close()
        if piece:
            await response.write(piece)
        await response.write_eof()
        return response

    def _enter(self, flight: contextlib.ExitStack) -> None:
        """Count an object GET, in flight until `flight` is closed."""
        self.counts.enter(self.upstream.name)
        flight.callback(self.counts.leave)


def _end_to_end(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """The headers that concern the ends and not the connection, in their order."""
    return CIMultiDict((name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP)


@contextlib.asynccontextmanager
async def _proxies(upstreams: Sequence[Upstream], delay_s: float) -> AsyncIterator[dict[str, str]]:
    """Serve all upstreams and the counts on the running loop; yields the settings."""
    counts = Counts()

    async def stats(_request: web.Request) -> web.Response:
        return web.json_response(counts.as_json())

    async def reset(request: web.Request) -> web.Response:
        counts.reset(int(request.query.get("wanted", 0)))
        return web.json_response({})

    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                # A connection for each request: one kept alive may be closed under the next one.
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                max_line_size=_LINE_LIMIT,
                max_field_size=_LINE_LIMIT,
            )
        )
        settings: dict[str, str] = {}
        ports: dict[str, str] = {}
        for upstream in upstreams:
            listening = event_loop.listening(
                Proxy(upstream, ports, counts, session, delay_s),
                auto_decompress=False,
                max_line_size=_LINE_LIMIT,
                max_field_size=_LINE_LIMIT,
            )
            settings[upstream.name] = await stack.enter_async_context(listening)
            ports[upstream.url] = settings[upstream.name]
        app = web.Application()
        app.add_routes([web.get("/stats", stats), web.post("/reset", reset)])
        counting_host = event_loop.running(web.AppRunner(app, access_log=None))
        base = await stack.enter_async_context(counting_host)
        yield settings | {"stats": f"{base}/stats"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--upstream", type=Upstream.parse, action="append", required=True)
    parser.add_argument("--delay-s", type=float, default=0.0)
    options = parser.parse_args()
    serving.run(event_loop.in_event_loop(_proxies(options.upstream, options.delay_s)))
