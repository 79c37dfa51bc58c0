"""HTTP/1.1 for a source that sends its requests itself: one body, one buffer.

    request ─> an idle connection to that address, or a new one ─> Answer
    Answer  ─> the body, read by the kernel into the buffer that is handed on
    read to its end? ─> the connection is idle again; else it is closed

Python's own client, because it can read a body into one buffer: 400 MB in ranges cost it less
than half of the processor time of a client that passes a body on in pieces (docs/decisions/0035).
Redirects are not followed here: whoever follows them decides about tokens.

Proxies are those of ``net/proxies.py``, certificates those of ``net/certificates.py``.

Longer than 300 lines: requests, connections and their end are one state.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator, Mapping
from email.message import Message
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from msgspec import Struct

from kaiwo.errors import ConfigError, ServiceError, TransientError, UnfinishedError
from kaiwo.net import certificates, proxies, redirects
from kaiwo.net.certificates import ClientFiles
from kaiwo.net.proxies import Proxy
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
        ca_bundle: path of the certificates to trust, or None for the environment's.
        client: files of the client's certificate and key, as ``certificates.context`` takes them.

    Raises:
        ConfigError: a file with certificates cannot be used.
    """

    def __init__(
        self, network: NetworkSettings, ca_bundle: str | None, client: ClientFiles = (None, None)
    ) -> None:
        self._network = network
        self._trust = certificates.context(ca_bundle, *client)
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
        proxy = _proxy(parts.geturl())
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        if proxy is not None and parts.scheme == "http":
            path = parts._replace(netloc=_host(parts), fragment="").geturl()
            headers = {**headers, **_proxy_authorization(proxy)}
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

    def _connect(self, parts: SplitResult, proxy: Proxy | None) -> http.client.HTTPConnection:
        """A new connection."""
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        at = (host, port)
        if proxy is not None:
            asked = urlsplit(proxy.address)
            at = (asked.hostname or "", asked.port or 0)
        timeout_s = self._network.connect_timeout_s
        if parts.scheme == "http":
            connection = http.client.HTTPConnection(*at, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(*at, timeout=timeout_s, context=self._trust)
            if proxy is not None:
                connection.set_tunnel(host, port, headers=_proxy_authorization(proxy))
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


def basic_authorization(address: str) -> dict[str, str]:
    """The header with user and password of an address; empty if the address has none."""
    parts = urlsplit(address)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _proxy(address: str) -> Proxy | None:
    """The proxy for an address.

    Raises:
        ConfigError: it cannot be used.
    """
    proxy = proxies.proxy_for(address)
    if proxy is not None and proxy.address.startswith("https:"):
        raise ConfigError(
            "the Hub cannot be asked through a proxy that speaks TLS; give one that begins with "
            "http://"
        )
    return proxy


def _proxy_authorization(proxy: Proxy) -> dict[str, str]:
    return {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
