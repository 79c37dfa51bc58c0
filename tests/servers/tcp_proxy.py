"""A TCP proxy that ends or stops connections after a given number of bytes of their answers.

    with tcp_proxy("127.0.0.1:9000", "reset", (0, 400, 1_000_000)) as proxy:
        ...  proxy.address, proxy.failed

The first connection fails before a byte of an answer has come, the second after 400 bytes, the
third after a million. One that carries less does not fail, and leaves that to the next one. After
these failures there are no more. The proxy does not look at the bytes, so it works for any store.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from tests.servers import serving

#: A TCP reset; an orderly end; nothing more, while the connection stays open.
Failure = Literal["reset", "cut", "stall"]

_PIECE = 1 << 16
_POLL_S = 0.05
_PATIENCE_S = 10.0


class TcpProxy(socketserver.ThreadingTCPServer):
    """Listens from its construction on.

    Attributes:
        failed: after how many bytes connections failed, in that order.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, upstream: str, failure: Failure, after: Sequence[int]) -> None:
        super().__init__((serving.HOST, 0), _Connection)
        host, _, port = upstream.rpartition(":")
        self.upstream = host, int(port)
        self.failure = failure
        self.failed: list[int] = []
        self.ending = threading.Event()
        #: Limits that no connection has, in their order.
        self._after = list(after)
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{serving.HOST}:{self.server_address[1]}"

    def next_limit(self) -> int | None:
        """After how many bytes the next connection is to fail, if at all."""
        with self._lock:
            return self._after.pop(0) if self._after else None

    def give_back(self, limit: int) -> None:
        """A connection ended below its limit: the next one is to fail after that."""
        with self._lock:
            self._after.insert(0, limit)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what it is here for."""


class _Connection(socketserver.BaseRequestHandler):
    server: TcpProxy
    request: socket.socket

    def handle(self) -> None:
        """Carry bytes both ways until either side ends, or the limit is reached."""
        limit = self.server.next_limit()
        with socket.create_connection(self.server.upstream, _PATIENCE_S) as upstream:
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            is_reached = False
            try:
                is_reached = self._carry(upstream, limit)
            finally:
                if limit is not None and not is_reached:
                    self.server.give_back(limit)
            if is_reached:
                self.server.failed.append(limit or 0)
                self._fail()

    def _carry(self, upstream: socket.socket, limit: int | None) -> bool:
        """Whether the limit was reached."""
        carried = 0
        while not self.server.ending.is_set():
            for source in select.select([self.request, upstream], [], [], _POLL_S)[0]:
                piece = source.recv(_PIECE)
                if not piece:
                    return False
                if source is self.request:
                    upstream.sendall(piece)
                    continue
                if limit is not None and carried + len(piece) > limit:
                    self.request.sendall(piece[: limit - carried])
                    return True
                self.request.sendall(piece)
                carried += len(piece)
        return False

    def _fail(self) -> None:
        if self.server.failure == "reset":
            linger = struct.pack("ii", 1, 0)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # Closed by hand: the library would shut it down first, which is an orderly end.
            os.close(self.request.detach())
        while self.server.failure == "stall" and not self.server.ending.is_set():
            if select.select([self.request], [], [], _POLL_S)[0] and not self.request.recv(_PIECE):
                return


@contextlib.contextmanager
def tcp_proxy(upstream: str, failure: Failure, after: Sequence[int]) -> Iterator[TcpProxy]:
    """Listen from a thread while the block runs.

    Args:
        upstream: host and port to carry to.
        failure: what happens to the connections.
        after: how many bytes of answers the first, the second, … connection carries before that.
    """
    proxy = TcpProxy(upstream, failure, after)
    with serving.in_thread(proxy):
        try:
            yield proxy
        finally:
            proxy.ending.set()
