"""Connections of HTTP/1.1 by urllib3, which keeps them open between requests.

What urllib3 does not do is here:

    a host of several addresses    a dead one costs a quarter of a second, see ``connecting``
    the head of an answer          see ``heads``
    the end of a source            requests that wait for their answers end, too
    idle connections               the server may close one at the moment of the next request:
                                   the request is sent on another one
    the target of a request        goes out as it was given; urllib3 would change its escapes

See docs/decisions/0035.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from http.client import BadStatusLine
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ClosedPoolError, ProtocolError
from urllib3.util import Retry, Timeout

from kaiwo.errors import UnfinishedError
from kaiwo.net import connecting
from kaiwo.net.failures import chain
from kaiwo.net.heads import PlainResponse
from kaiwo.net.proxies import Proxy
from kaiwo.net.settings import NetworkSettings

_PORTS = {"http": 80, "https": 443}
#: The target of a request on its way to the connection, as in HTTP/2. It is never sent.
_TARGET = ":path"
_MOST_HOSTS = 256


class StaleConnectionError(ConnectionError):
    """The server has closed an idle connection, or what comes is the rest of another answer."""


class Connections:
    """Connections that are kept open between requests. Called from many threads at once.

    Args:
        network: timeouts.
        trust: how TLS is spoken; called when it first is, for to read certificates takes 50 ms.
    """

    def __init__(self, network: NetworkSettings, trust: Callable[[], ssl.SSLContext]) -> None:
        self._network = network
        self._trust = trust
        self._retries = Retry(total=False, redirect=False)  # none: kaiwo repeats requests itself
        self._managers: dict[tuple[str, Proxy | None], urllib3.PoolManager] = {}
        #: By scheme, server and proxy: the manager itself takes long to look.
        self._pools: dict[tuple[str, str, Proxy | None], HTTPConnectionPool] = {}
        #: Sockets, not connections: of an answer that ends with its connection, only that is left.
        self._open = weakref.WeakSet[socket.socket]()
        self._lock = threading.Lock()
        self.is_closed = False

    def close(self) -> None:
        """Close all connections: requests that are under way fail, and later ones, too."""
        with self._lock:
            self.is_closed = True
            pools, under_way = list(self._pools.values()), list(self._open)
        for pool in pools:
            pool.close()
        for each in under_way:
            # Not the method of a TLS socket, which takes the session away from the reader.
            with contextlib.suppress(OSError):  # the other end was faster
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def send(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        body: bytes | None,
        proxy: Proxy | None,
    ) -> urllib3.BaseHTTPResponse:
        """The answer to one request; its body is not read yet, and the caller closes it.

        Args:
            method: of HTTP.
            address: of http or https; all of its characters are allowed in one.
            headers: of the request.
            body: of the request.
            proxy: to ask; None: the server itself.

        Raises:
            urllib3.exceptions.HTTPError: there is no connection, or it broke.
            UnfinishedError: the connections are closed.
        """
        parts = urlsplit(address)
        target = _target(parts)
        if proxy is not None and parts.scheme == "http":
            target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
        while True:
            pool = self._pool(parts, proxy)
            try:
                return pool.urlopen(
                    method,
                    target,
                    body=body,
                    headers={**headers, _TARGET: target},
                    retries=self._retries,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    decode_content=False,
                    # A body that is too short is judged by whoever knows its size.
                    enforce_content_length=False,
                )
            except ProtocolError as error:
                if not any(isinstance(each, StaleConnectionError) for each in chain(error)):
                    raise
            except ClosedPoolError:
                raise UnfinishedError("the source is closed") from None

    def _pool(self, parts: SplitResult, proxy: Proxy | None) -> HTTPConnectionPool:
        place = (parts.scheme, parts.netloc, proxy)
        with self._lock:
            if self.is_closed:
                raise UnfinishedError("the source is closed")
            found = self._pools.get(place)
            if found is None:
                manager = self._managers.get((parts.scheme, proxy))
                if manager is None:
                    manager = self._manager(parts.scheme, proxy)
                    self._managers[parts.scheme, proxy] = manager
                host = (parts.hostname or "").encode("idna").decode()
                port = parts.port or _PORTS[parts.scheme]
                found = manager.connection_from_host(host, port, scheme=parts.scheme)
                self._pools[place] = found
        return found

    def _manager(self, scheme: str, proxy: Proxy | None) -> urllib3.PoolManager:
        is_plain = scheme == "http" and (proxy is None or proxy.address.startswith("http:"))
        trust = None if is_plain else self._trust()
        timeout = Timeout(
            connect=self._network.connect_timeout_s, read=self._network.stall_timeout_s
        )
        options: dict[str, Any] = {
            "num_pools": _MOST_HOSTS,
            "maxsize": self._network.connections,
            "timeout": timeout,
            "ssl_context": trust,
        }
        if proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            authorization = proxy.authorization
            named = {"Proxy-Authorization": authorization} if authorization else {}
            manager = urllib3.ProxyManager(
                proxy.address, proxy_headers=named, proxy_ssl_context=trust, **options
            )
        manager.pool_classes_by_scheme = {
            "http": partial(_Pool, owner=self),  # type: ignore[dict-item]
            "https": partial(_TlsPool, owner=self),  # type: ignore[dict-item]
        }
        return manager

    def connect(self, host: str, port: int, timeout_s: float, options: Any) -> socket.socket:
        """A connected socket, for a connection of these."""
        made = connecting.connect(
            host, port, timeout_s, options=options, is_over=lambda: self.is_closed
        )
        self.add(made)
        return made

    def add(self, made: socket.socket) -> None:
        """Remember a socket, which ``close`` ends.

        Raises:
            UnfinishedError: the connections are closed.
        """
        with self._lock:
            if not self.is_closed:
                self._open.add(made)
                return
        made.close()
        raise UnfinishedError("the source is closed")


def _target(parts: SplitResult) -> str:
    """Path and query, with each of their slashes."""
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    return f"{path}?{parts.query}" if parts.query else path


class _Connection(HTTPConnection):
    """See the module's docstring."""

    def __init__(self, *args: Any, owner: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self.response_class = self._begin_answer  # type: ignore[assignment]  # a function does, too
        self._answer: PlainResponse | None = None
        self._owner = owner
        self._has_answered = False

    def _new_conn(self) -> socket.socket:
        """Overridden by urllib3's own SOCKS connections, too."""
        timeout_s = float(self.timeout or 0)
        return self._owner.connect(self._dns_host, self.port, timeout_s, self.socket_options or ())

    def connect(self) -> None:
        """See ``HTTPConnection``."""
        self._has_answered = False
        try:
            super().connect()
            made = self.sock
            self._owner.add(getattr(made, "socket", made))  # TLS inside TLS has a socket
        except BaseException:
            self.close()
            raise

    def request(  # type: ignore[override]  # as urllib3's
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """See ``HTTPConnection``."""
        sent = dict(headers or {})
        super().request(method, sent.pop(_TARGET, url), body, sent, **options)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3's
        """See ``HTTPConnection``."""
        try:
            found = super().getresponse()
        except BaseException as error:
            # Without this, it stays open if it ends its connection and urllib3 refuses its headers.
            if self._answer is not None:
                self._answer.close()
            # Some servers send a body after a HEAD, which looks like the next answer.
            if isinstance(error, ConnectionError | BadStatusLine) and self._has_answered:
                raise StaleConnectionError from error
            raise
        finally:
            self._answer = None
        self._has_answered = True
        return found

    def _begin_answer(self, *args: Any, **options: Any) -> PlainResponse:
        self._answer = PlainResponse(*args, **options)
        return self._answer


class _TlsConnection(_Connection, HTTPSConnection):
    """The same with TLS."""

    #: The connection during the handshake, which takes its socket over.
    _shaking: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        try:
            self._shaking = made.dup()
            self._owner.add(self._shaking)
        except BaseException:
            made.close()
            raise
        return made

    def connect(self) -> None:
        """See ``HTTPConnection``."""
        try:
            super().connect()
        finally:
            if self._shaking is not None:
                self._shaking.close()
        if self.ssl_context is not None and self.ssl_context.verify_mode == ssl.CERT_NONE:
            self.is_verified = True  # urllib3 would warn, but the user asked for it


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
