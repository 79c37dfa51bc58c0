"""A stand-in for the proxy of a company: passes requests on, and makes tunnels by CONNECT."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.servers import serving
from tests.support.tls_pipe import copy

_LONGEST = 1 << 16


@dataclass
class ForwardProxy:
    """A proxy, and what it was asked.

    Attributes:
        address: ``scheme://host:port``.
        lines: the first line of every request: with the whole address, or CONNECT.
        authorizations: their ``Proxy-Authorization``.
    """

    address: str
    lines: list[str] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)

    def url(self, user: str = "", host: str = "") -> str:
        """The address with user info, or by another name of the host."""
        scheme, _, rest = self.address.partition("://")
        rest = rest.replace(serving.HOST, host) if host else rest
        return f"{scheme}://{user}@{rest}" if user else f"{scheme}://{rest}"


@contextlib.contextmanager
def forward_proxy(tls: ssl.SSLContext | None = None, status: int = 200) -> Iterator[ForwardProxy]:
    """A proxy.

    Args:
        tls: it is asked by TLS.
        status: of its answer, if it refuses.
    """
    listener = socket.create_server((serving.HOST, 0))
    scheme = "http" if tls is None else "https"
    proxy = ForwardProxy(f"{scheme}://{serving.HOST}:{listener.getsockname()[1]}")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            stack.enter_context(connection)
            _pass_on(proxy, status, connection, stack)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield proxy
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _pass_on(
    proxy: ForwardProxy, status: int, connection: socket.socket, stack: contextlib.ExitStack
) -> None:
    """Serve one connection, to its first request's host."""
    data = b""
    while b"\r\n\r\n" not in data:
        some = connection.recv(_LONGEST)
        if not some:
            return
        data += some
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *headers = head.decode("latin-1").split("\r\n")
    named = {name.lower(): value.strip() for name, _, value in (h.partition(":") for h in headers)}
    proxy.lines.append(line)
    proxy.authorizations.add(named.get("proxy-authorization"))
    if status != http.client.OK:
        connection.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
        return
    method, target, version = line.split(" ")
    if method == "CONNECT":
        upstream = _connected(target, stack)
        connection.sendall(b"HTTP/1.1 200 established\r\n\r\n")
    else:
        host, slash, path = target.partition("://")[2].partition("/")
        upstream = _connected(host, stack)
        # One request for a connection, so that no other request is in what is copied.
        kept = [h for h in headers if not h.lower().startswith(("proxy-", "connection:"))]
        first = f"{method} {slash}{path} {version}"
        upstream.sendall("\r\n".join((first, *kept, "Connection: close", "", "")).encode("latin-1"))
    upstream.sendall(rest)
    back = threading.Thread(target=copy, args=(upstream, connection), daemon=True)
    back.start()
    copy(connection, upstream)
    back.join()


def _connected(host: str, stack: contextlib.ExitStack) -> socket.socket:
    name, _, port = host.rpartition(":")
    return stack.enter_context(socket.create_connection((name, int(port))))
