"""The HTTP client of all sources that send their requests themselves.

    request ─> credentials of that server, the proxy ─> a kept connection ─> Answer
    a redirect is followed, see ``redirects``; a refusal is raised; a host that asks for a pause is
    left alone until then
    Answer  ─> the body, read by the kernel into the buffer that is handed on

A host that asks for a pause (``Retry-After``, or ``RateLimit``, where 429 answers state when a
quota resets) gets no request until then: requests fail at once, as they would if they were sent.
The engine waits too, but it may be in the middle of a batch.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from kaiwo._version import __version__
from kaiwo.errors import BusyError, ServiceError, UnfinishedError
from kaiwo.net import redirects
from kaiwo.net.answers import Answer
from kaiwo.net.codes import code_in
from kaiwo.net.connections import Connections
from kaiwo.net.headers import basic_authorization
from kaiwo.net.patience import Patience
from kaiwo.net.proxies import Proxy, proxy_for
from kaiwo.net.redirects import Origin, RedirectError
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import RefusedError, retry_after_s

#: What connections raise; see ``failures.wire_error``.
CONNECTION_ERRORS = (HTTPError, OSError)
#: An answer that carries no object is read up to this size: to keep the connection, and because
#: it may say why.
_SCRAP = 1 << 16
_NO_OBJECT = 300
_BUSY = {429, 503}


class Keyring(Protocol):
    """Knows which server may see which headers; most often ``redirects.Credentials``."""

    def for_address(self, address: str) -> Mapping[str, str]:
        """The headers for a request to an address."""


class Client:
    """Sends requests, and follows redirects. Called from many threads at once.

    Args:
        network: timeouts.
        trust: how TLS is spoken, see ``certificates``; called for the first connection that does.
        credentials: headers for one server or several; None for requests without credentials.
        find_proxy: the proxy for an address; the environment's if none is given.
    """

    def __init__(
        self,
        network: NetworkSettings,
        trust: Callable[[], ssl.SSLContext],
        credentials: Keyring | None = None,
        find_proxy: Callable[[str], Proxy | None] = proxy_for,
    ) -> None:
        self._credentials = credentials
        self._find_proxy = find_proxy
        #: The environment stays as it is while a client is in use, and takes long to read.
        self._proxies: dict[Origin, Proxy | None] = {}
        self._connections = Connections(network, trust)
        self._patience = Patience()

    def close(self) -> None:
        """Close all connections: requests that are under way fail, and later ones, too."""
        self._connections.close()

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        check: Callable[[Answer], None] = lambda _: None,
        follows: Callable[[str], bool] = lambda _: True,
        accepts: Collection[int] = (),
    ) -> Iterator[Answer]:
        """The answer at the end of all redirects; its body is not read yet.

        Args:
            method: of HTTP; redirects do not change it.
            address: of http or https.
            headers: besides the credentials; every server on the way gets them.
            body: of the request.
            check: is called with every answer on the way.
            follows: whether to follow a redirect to an address; else the redirect is the answer.
            accepts: statuses of 300 and more that are no refusals.

        Raises:
            RefusedError: the status is an error.
            RedirectError: redirects lead nowhere, or must not be followed.
            BusyError: the host asked for a pause that is not over.
            UnfinishedError: the client is closed, or was closed meanwhile.
            ServiceError: the address is not http or https, or the body has an unknown coding.
            ConfigError: the proxy cannot be used.
            OSError: see ``CONNECTION_ERRORS``.
        """
        for _ in range(redirects.MOST_HOPS):
            origin = _require_web(address)
            self._require_no_pause(origin)
            with self._answer(method, origin, address, headers or {}, body) as answer:
                check(answer)
                if answer.status in _BUSY:
                    self._note_pause(origin, answer)
                target = answer.redirect_target
                is_refusal = target is None and answer.status >= _NO_OBJECT
                if is_refusal and answer.status not in accepts:
                    raise _refusal(answer)
                if target is None or not follows(target):
                    _require_known_coding(answer)
                    yield answer
                    return
                if (answer.length_left or _SCRAP + 1) <= _SCRAP:
                    answer.start(_SCRAP)  # keeps the connection
                address = target
        raise RedirectError("too many redirects")

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        origin: Origin,
        address: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> Iterator[Answer]:
        """One request; its connection is kept if the body is read to its end."""
        address = redirects.encoded(address)
        own = self._credentials.for_address(address) if self._credentials else {}
        of_address = basic_authorization(address)  # a redirect may name user info for its host
        if of_address is not None and "authorization" not in map(str.lower, own):
            own = {"Authorization": of_address, **own}
        sent = {"User-Agent": f"kaiwo/{__version__}", "Accept-Encoding": "identity"}
        sent |= {**own, **headers}
        raw = None
        try:
            if origin not in self._proxies:
                self._proxies[origin] = self._find_proxy(address)
            proxy = self._proxies[origin]
            raw = self._connections.send(method, address, sent, body, proxy)
            answer = Answer(raw.status, raw.headers, address, raw)
            if method == "HEAD" or raw.length_remaining == 0:
                answer.start(1)  # gives the connection back
            yield answer
        except CONNECTION_ERRORS:
            if self._connections.is_closed:
                raise UnfinishedError("the source was closed") from None
            raise
        finally:
            if raw is not None and not raw.closed:
                raw.close()

    def _note_pause(self, origin: Origin, answer: Answer) -> None:
        """Remember for how long the host asks for no requests."""
        wait_s = retry_after_s(dict(answer.headers.items()))
        if wait_s is not None:
            self._patience.asked(origin, wait_s)

    def _require_no_pause(self, origin: Origin) -> None:
        left_s = self._patience.left_s(origin)
        if left_s > 0:
            raise BusyError(f"{origin.host} asks to wait for another {left_s:.0f} s", left_s)


def _require_web(address: str) -> Origin:
    """The origin of an address of the web."""
    try:
        origin = redirects.origin_of(address)
        (urlsplit(address).hostname or "").encode("idna")
    except ValueError:  # no port, no name
        origin = Origin("", None, None)
    if origin.scheme not in ("http", "https") or not origin.host:
        raise ServiceError("an address is neither http:// nor https://; check the endpoint")
    return origin


def _require_known_coding(answer: Answer) -> None:
    """Refuse a body that is encoded for the transfer alone; who asks for none gets none."""
    words = (answer.header("Transfer-Encoding") or "").lower().split(",")
    if {word.strip() for word in words} - {"", "chunked", "identity"}:
        raise ServiceError(
            "the response has a transfer coding that was not requested; is a proxy compressing it?"
        )


def _refusal(answer: Answer) -> RefusedError:
    """An error status, with the code that the headers or the body state."""
    start = b""
    with contextlib.suppress(*CONNECTION_ERRORS):  # the body matters only if it comes
        start = answer.start(_SCRAP)
    code = answer.header("X-Error-Code") or code_in(start)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return RefusedError(answer.status, code, headers, answer.address)
