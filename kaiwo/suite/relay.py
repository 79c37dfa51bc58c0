"""A relay between a source and its server, which cuts connections in the middle of an answer."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Literal

_PIECE = 1 << 16
_PATIENCE_S = 20.0
#: A reset of TCP; an orderly end, after which a body is too short.
How = Literal["reset", "end"]


class Relay:
    """Carries connections to a server, as they are or up to a number of bytes of answers.

    Args:
        server: host and port.
    """

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = host.strip("[]"), int(port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._how: How = "end"
        #: Bytes of answers that still pass, of all connections together; None: all.
        self._left: int | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self, how: How, after: int) -> None:
        """From now on, let that many bytes of answers pass, and end each connection then."""
        with self._lock:
            self._how, self._left = how, after

    def mend(self) -> None:
        """Let everything pass again."""
        with self._lock:
            self._left = None

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(self._server, _PATIENCE_S)
            except OSError:
                client.close()
                continue
            for connection in (client, server):
                connection.settimeout(_PATIENCE_S)  # of a side that takes nothing any more
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """Carry bytes both ways until a side ends, or no more may pass."""
        # One thread for both: a socket that another one reads from is not reset when it is closed.
        with client, server, contextlib.suppress(OSError):
            while True:
                for source in select.select([client, server], [], [], _PATIENCE_S)[0]:
                    piece = source.recv(_PIECE)
                    if not piece:
                        return
                    if source is client:
                        server.sendall(piece)
                        continue
                    passed, how, is_over = self._allowed(len(piece))
                    client.sendall(piece[:passed])
                    if is_over:
                        if how == "reset":
                            linger = struct.pack("ii", 1, 0)
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return

    def _allowed(self, size: int) -> tuple[int, How, bool]:
        """How many of these bytes pass, and whether and how the connection ends then."""
        with self._lock:
            if self._left is None or size <= self._left:
                if self._left is not None:
                    self._left -= size
                return size, "end", False
            passed, self._left = self._left, 0
            return passed, self._how, True


@contextlib.contextmanager
def relay(server: str) -> Iterator[Relay]:
    """A relay while the block runs.

    Args:
        server: host and port.
    """
    running = Relay(server)
    try:
        yield running
    finally:
        running.close()
