"""HTTP/1.1 for a source that sends its requests itself: one body, one buffer.

    request ─> an idle connection to that address, or a new one ─> Answer
    Answer  ─> the body, read by the kernel into the buffer that is handed on
    read to its end? ─> the connection is idle again; else it is closed

Python's own client, because it can read a body into one buffer: 400 MB in ranges cost it less
than half of the processor time of a client that passes a body on in pieces (docs/decisions/0035).
Redirects are not followed here: whoever follows them decides about tokens.

Proxies and certificates are those of the environment: ``http_proxy``, ``https_proxy``,
``all_proxy``, ``no_proxy``; ``SSL_CERT_FILE``, ``SSL_CERT_DIR``.

Longer than 300 lines: requests, connections and their end are one state.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import select
import socket
import ssl
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator, Mapping
from email.message import Message
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from msgspec import Struct

from kaiwo import environment
from kaiwo.errors import ConfigError, ServiceError, TransientError, UnfinishedError
from kaiwo.net import redirects
from kaiwo.net.settings import NetworkSettings

#: The rest of an unused answer is read up to this size, to keep the connection.
_SCRAP = 1 << 16
#: Characters that stay in a URL; all others are encoded, since a Location may not be encoded.
_SAFE = "%/:=&?~#+!$,;'@()*[]"
_PORTS = {"http": 80, "https": 443}
#: From this status on, an answer carries no object: redirects and errors.
_NO_OBJECT = 300


class Answer(Struct, frozen=True):
    """An answer whose body is not read yet; valid inside the block that gave it.

    Attributes:
        status: of HTTP.
        headers: of the answer.
        address: that was requested.
    """

    status: int
    headers: Message
    address: str
    _raw: http.client.HTTPResponse

    def header(self, name: str) -> str | None:
        """The value of a header, or None."""
        value = self.headers.get(name)
        return None if value is None else str(value)

    @property
    def redirect_target(self) -> str | None:
        """The address that a redirect names; None if the answer is no redirect."""
        location = self.header("Location") if self.status in redirects.STATUSES else None
        return None if location is None else urljoin(self.address, location)

    def take(self, size: int) -> bytes:
        """The body of at most ``size`` bytes; a short body comes back short.

        Raises:
            TransientError: more than ``size`` bytes come.
        """
        self._require_plain()
        data = self._raw.read(size)
        if self._raw.length != 0 and self._raw.read(1):
            raise TransientError(f"the answer has more than the {size} requested bytes")
        return data

    def chunks(self, size: int) -> Iterator[bytes]:
        """The body in chunks of at most that size."""
        self._require_plain()
        while chunk := self._raw.read(size):
            yield chunk

    def body(self) -> bytes:
        """All of a small body."""
        self._require_plain()
        return self._raw.read()

    def _require_plain(self) -> None:
        """Refuse an encoded body: sizes and ranges are those of the plain object."""
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise ServiceError(
                f"the response is {encoding}-encoded although identity was requested; "
                "is a proxy compressing it?"
            )


class Connections:
    """Connections that are kept open between requests. Called from many threads at once.

    Args:
        network: timeouts.
        ca_bundle: path of the certificates to trust, or None for the system's.

    Raises:
        ConfigError: the certificates that the environment names cannot be used.
    """

    def __init__(self, network: NetworkSettings, ca_bundle: str | None) -> None:
        self._network = network
        self._trust = _trust(ca_bundle)
        self._idle: defaultdict[tuple[str, str], list[http.client.HTTPConnection]]
        self._idle = defaultdict(list)
        self._lock = threading.Lock()
        self._open = weakref.WeakSet[http.client.HTTPConnection]()
        self._closed = False

    def close(self) -> None:
        """Close all connections: requests that are under way fail, and later ones, too."""
        with self._lock:
            self._closed = True
            idle = [each for several in self._idle.values() for each in several]
            self._idle.clear()
        for connection in idle:
            connection.close()
        for connection in self._open:
            _end(connection)

    @contextlib.contextmanager
    def request(
        self, method: str, address: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Iterator[Answer]:
        """The answer to one request; redirects are not followed.

        Raises:
            OSError: there is no connection, or it broke.
            HTTPException: the answer is not HTTP.
            ServiceError: the address is not http or https.
            ConfigError: the environment's proxy cannot be used.
        """
        parts = urlsplit(quote(address, safe=_SAFE))
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ServiceError("an address is neither http:// nor https://; check the endpoint")
        connection, raw = self._send(method, parts, headers, body)
        try:
            if raw.status >= _NO_OBJECT and (raw.length or 0) <= _SCRAP:
                raw.read(_SCRAP)
            yield Answer(raw.status, raw.headers, address, raw)
            reusable = raw.isclosed() and connection.sock is not None
        except BaseException:
            reusable = raw.status >= _NO_OBJECT and raw.isclosed() and connection.sock is not None
            raise
        finally:
            self._give_back((parts.scheme, parts.netloc), connection, reusable=reusable)

    def _send(
        self, method: str, parts: SplitResult, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request; the connection, and the answer with its body unread."""
        proxy = _proxy(parts)
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        if proxy is not None and parts.scheme == "http":
            path = parts._replace(netloc=_host(parts), fragment="").geturl()
            headers = {**headers, **_authorization("Proxy-Authorization", proxy)}
        while (connection := self._take_idle((parts.scheme, parts.netloc))) is not None:
            # The other end may close an idle connection at this moment.
            with contextlib.suppress(ConnectionError):
                return connection, _exchange(connection, method, path, headers, body)
        connection = self._connect(parts, proxy)
        return connection, _exchange(connection, method, path, headers, body)

    def _take_idle(self, place: tuple[str, str]) -> http.client.HTTPConnection | None:
        """An idle connection to that place that is still open, or None."""
        while True:
            with self._lock:
                connection = self._idle[place].pop() if self._idle[place] else None
            if connection is None or not _is_readable(connection):
                return connection
            connection.close()  # readable without a request: the other end has closed it

    def _give_back(
        self, place: tuple[str, str], connection: http.client.HTTPConnection, *, reusable: bool
    ) -> None:
        with self._lock:
            if reusable and not self._closed:
                self._idle[place].append(connection)
                return
        connection.close()

    def _connect(self, parts: SplitResult, proxy: SplitResult | None) -> http.client.HTTPConnection:
        """A new connection."""
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        at = (host, port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
        timeout_s = self._network.connect_timeout_s
        if parts.scheme == "http":
            connection = http.client.HTTPConnection(*at, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(*at, timeout=timeout_s, context=self._trust)
            if proxy is not None:
                headers = _authorization("Proxy-Authorization", proxy)
                connection.set_tunnel(host, port, headers=headers)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        connection.sock.settimeout(self._network.stall_timeout_s)
        with self._lock:
            if not self._closed:
                self._open.add(connection)
                return connection
        connection.close()
        raise UnfinishedError("the source is closed")


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
) -> http.client.HTTPResponse:
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _end(connection: http.client.HTTPConnection) -> None:
    """Have a thread that waits for this connection read its end."""
    if (sock := connection.sock) is not None:
        with contextlib.suppress(OSError):  # the other end was faster
            # Not the method of a TLS socket, which takes the session away from the reader.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _is_readable(connection: http.client.HTTPConnection) -> bool:
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _host(parts: SplitResult) -> str:
    """Host and port, without the user."""
    return parts.netloc.rpartition("@")[2]


def _authorization(name: str, parts: SplitResult) -> dict[str, str]:
    """The header with user and password of an address; empty if the address has none."""
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {name: f"Basic {base64.b64encode(pair).decode()}"}


def basic_authorization(address: str) -> dict[str, str]:
    """The header with user and password of an address; empty if the address has none."""
    return _authorization("Authorization", urlsplit(address))


def _proxy(parts: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for an address.

    Raises:
        ConfigError: it cannot be used.
    """
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - slow to load

    proxies = getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or proxy_bypass(_host(parts)):
        return None
    try:
        proxy = urlsplit(named if "://" in named else f"http://{named}")
        usable = proxy.scheme == "http" and bool(proxy.hostname) and proxy.port != 0
    except ValueError:
        usable = False
    if not usable:  # the address may hold a password
        raise ConfigError(
            "the environment's proxy (http_proxy, https_proxy, all_proxy) cannot be used; "
            "give one that begins with http://"
        )
    return proxy


def _trust(ca_bundle: str | None) -> ssl.SSLContext:
    """Trust the given certificates, else the environment's; OpenSSL ignores missing files."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if ca_bundle or file:
            return ssl.create_default_context(cafile=ca_bundle or file)
        return ssl.create_default_context(capath=folder or None)
    except OSError as error:
        if named := environment.missing_file(("SSL_CERT_FILE",), ca_bundle or file):
            raise ConfigError(named) from None
        raise ConfigError(
            "the environment's certificates (SSL_CERT_FILE, SSL_CERT_DIR) or ca_bundle cannot be "
            f"read: {error.strerror or type(error).__name__}"
        ) from None
