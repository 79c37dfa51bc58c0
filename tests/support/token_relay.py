"""A store by way of a relay that asks for bearer tokens, and the tokens that a provider has given.

The store behind it is open: the relay refuses whoever has no token that is valid at that moment,
and takes the token away before it passes a request on.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.servers import serving
from tests.support.proxies import HOP_BY_HOP, base_of
from tests.support.recorded import Asked
from tests.support.stores import Store
from tests.support.through import TLS
from tests.support.tls_pipe import Pipe

_numbers = itertools.count()
#: Says what is wrong with a request besides its token; empty if nothing is.
Check = Callable[[Asked], str]


@dataclass
class Tokens:
    """The tokens of a provider.

    Attributes:
        valid: what each is good for, such as ``storage``.
        given: all of them, in their order.
        revoke_at: the request of the store after which no token of before is valid; 0: none.
    """

    valid: dict[str, str] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    revoke_at: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def give(self, purpose: str = "storage") -> str:
        """A new one."""
        with self.lock:
            token = f"ya29.GivenToken{next(_numbers)}Kanarienvogel"
            self.given.append(token)
            self.valid[token] = purpose
            return token

    def is_good(self, authorization: str | None, purpose: str = "storage") -> bool:
        """Whether a header holds a token that is valid for a purpose."""
        token = (authorization or "").removeprefix("Bearer ")
        return self.valid.get(token) == purpose


@dataclass
class Guarded:
    """The store behind its relay.

    Attributes:
        address: of the relay: ``https://localhost:port``.
        bundle: path of the certificate of its authority.
        asked: what it was asked.
        refused: how many requests of these had no valid token.
    """

    address: str
    bundle: str
    asked: list[Asked] = field(default_factory=list)
    refused: int = 0


@contextlib.contextmanager
def guarded(
    store: Store, tokens: Tokens, tls: TLS, check: Check = lambda _: "", query: str = ""
) -> Iterator[Guarded]:
    """The store by way of a relay.

    Args:
        store: an open one.
        tokens: that are accepted.
        tls: of the relay.
        check: of all requests.
        query: is added to every request that is passed on.
    """
    upstream = urlsplit(base_of(store)).netloc
    found = Guarded("", tls.bundle)

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.path, headers)
            found.asked.append(asked)
            if not tokens.is_good(headers.get("authorization")):
                found.refused += 1
                return self.refuse(401, "InvalidAuthenticationInfo")
            if fault := check(asked):
                return self.refuse(400, fault)
            self.ask_store()
            accepted = len(found.asked) - found.refused
            with tokens.lock:
                if tokens.revoke_at and accepted >= tokens.revoke_at:
                    tokens.revoke_at = 0
                    tokens.valid.clear()
            return None

        def ask_store(self) -> None:
            own = ("authorization", "host")
            given = dict(self.headers.items())
            sent = {name: given[name] for name in given if name.lower() not in own}
            sent["Host"] = upstream
            path = self.path + (("&" if "?" in self.path else "?") + query if query else "")
            connection = http.client.HTTPConnection(upstream, timeout=30)
            with contextlib.closing(connection):
                connection.request(self.command, path, None, sent)
                got = connection.getresponse()
                body = got.read()
                kept = {k: v for k, v in got.getheaders() if k.lower() not in HOP_BY_HOP}
                length = got.headers.get("Content-Length") if self.command == "HEAD" else len(body)
                self.answer(got.status, {**kept, "Content-Length": str(length or 0)}, body)

        def refuse(self, status: int, code: str) -> None:
            told = f"<Code>{code}</Code><Message>Server refuses</Message>"
            body = f"<?xml version='1.0'?><Error>{told}</Error>".encode()
            said = {"Content-Type": "application/xml", "x-ms-error-code": code}
            challenge = "Bearer authorization_uri=https://login.invalid/t resource_id=https://x"
            said["WWW-Authenticate"] = challenge
            self.answer(status, {**said, "Content-Length": str(len(body))}, body)

        def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = pass_on  # noqa: N815 - the library's names

    with (
        serving.listening(Handler) as address,
        contextlib.closing(Pipe(address, tls=tls.context)) as pipe,
    ):
        found.address = f"https://localhost:{pipe.port}"
        yield found
