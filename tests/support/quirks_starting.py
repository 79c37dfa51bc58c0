"""Services that are not up yet: a sidecar or a network that answers in their place."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

from tests.support.broken_servers import hangs_up, resets
from tests.support.proxies import base_of, by_way_of
from tests.support.stores import Store
from tests.support.tls_pipe import Pipe

#: What becomes of a connection.
Treat = Callable[[socket.socket], None]


def answers(status: int) -> Treat:
    """A gateway's answer in place of the service's."""

    def treat(connection: socket.socket) -> None:
        is_head = connection.recv(65_536).startswith(b"HEAD")
        body = b"no healthy upstream"
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + (b"" if is_head else body))

    return treat


#: How a service that is not up yet answers.
WAYS: dict[str, Treat] = {
    "reset": resets,
    "closed": hangs_up,
    "502": answers(502),
    "503": answers(503),
    "504": answers(504),
}


class LatePipe(Pipe):
    """Passes connections on once the service is up; until then it treats each in one way.

    Args:
        upstream: the address of the service.
        treat: what becomes of a connection until then.
        absent_s: for how long, from the first connection on.
    """

    def __init__(self, upstream: str, treat: Treat, absent_s: float) -> None:
        self._treat, self._absent_s, self._until_s = treat, absent_s, 0.0
        super().__init__(upstream)

    def _serve(self, connection: socket.socket) -> None:
        self._until_s = self._until_s or time.monotonic() + self._absent_s
        if time.monotonic() >= self._until_s:
            super()._serve(connection)
            return
        with contextlib.closing(connection), contextlib.suppress(OSError):
            self._treat(connection)


@contextlib.contextmanager
def coming_up(store: Store, treat: Treat, absent_s: float) -> Iterator[Store]:
    """The store by way of a ``LatePipe``."""
    with contextlib.closing(LatePipe(base_of(store), treat, absent_s)) as pipe:
        yield by_way_of(store, f"http://127.0.0.1:{pipe.port}")
