"""The filesystems of one source: as many as threads read at once, each used by one thread.

Most fsspec filesystems hold one connection (ftplib's, paramiko's) that two threads would confuse.
So a thread borrows a filesystem for one operation. After a failure its connection may be dead, or
in the middle of an answer: that filesystem is closed, and the next operation opens another.

Connections are opened one after the other: sshd refuses most of those that sign in at once.

Filesystems on fsspec's event loop take any number of threads: one serves all.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kaiwo.errors import KaiwoError, NotFoundError, UnfinishedError
from kaiwo.net.settings import NetworkSettings

#: What filesystems call their connection.
_CONNECTIONS = ("ftp", "client", "session")


class FilesystemPool:
    """Lends filesystems. Called from many threads at once.

    Args:
        make: makes one; it may connect at once.
        is_answer: whether an error is an answer, after which the connection is as before.
    """

    def __init__(self, make: Callable[[], Any], is_answer: Callable[[Exception], bool]) -> None:
        self._make = make
        self._is_answer = is_answer
        self._idle: list[Any] = []
        self._shared: Any = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        """A filesystem that no other thread uses inside the block.

        Raises:
            UnfinishedError: the source is closed.
        """
        filesystem = self._taken()
        try:
            yield filesystem
        except BaseException as error:
            if isinstance(error, Exception) and self._keeps(error):
                self._give_back(filesystem)
            elif filesystem is not self._shared:
                _close(filesystem)
            raise
        self._give_back(filesystem)

    def close(self) -> None:
        """Close all that are idle; those that are lent are closed when they come back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._shared = None
        for filesystem in idle:
            _close(filesystem)

    def _taken(self) -> Any:
        with self._lock:
            if self._is_closed:
                raise UnfinishedError("the source was closed")
            if self._shared is not None:
                return self._shared
            if self._idle:
                return self._idle.pop()
        with self._opening:
            return self._made()

    def _made(self) -> Any:
        if self._shared is not None:
            return self._shared
        made = self._make()
        if getattr(made, "async_impl", False):
            self._shared = made
        return made

    def _give_back(self, filesystem: Any) -> None:
        with self._lock:
            if filesystem is self._shared:
                return
            if not self._is_closed:
                self._idle.append(filesystem)
                return
        _close(filesystem)

    def _keeps(self, error: Exception) -> bool:
        """Whether a filesystem is used again after an error."""
        if isinstance(error, KaiwoError):
            return isinstance(error, NotFoundError)
        return self._is_answer(error)


def limit_waits(filesystem: Any, network: NetworkSettings) -> Any:
    """Have a filesystem's connection fail when nothing comes for the stall timeout; returns it.

    By itself, one over SSH or over HTTP by ``requests`` would wait for ever.
    """
    connection: Any = getattr(filesystem, "ftp", None)
    if hasattr(connection, "get_channel"):  # paramiko
        connection.get_channel().settimeout(network.stall_timeout_s)
    session: Any = getattr(filesystem, "session", None)
    if hasattr(session, "get_adapter"):  # requests
        waits = (network.connect_timeout_s, network.stall_timeout_s)
        session.request = partial(session.request, timeout=waits)
    return filesystem


def _close(filesystem: Any) -> None:
    for name in _CONNECTIONS:
        connection: Any = getattr(filesystem, name, None)
        if hasattr(connection, "close"):
            with contextlib.suppress(Exception):  # it may be lost already
                connection.close()
