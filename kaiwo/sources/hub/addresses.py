"""Where the bytes of a file really are: found once, by one request, for all ranges of the file.

    unknown     the first range to ask finds it, with the request that it must send anyway; the
                others wait for what it finds, or fail with it
    known       as soon as the first redirect names another host; if that host redirects again,
                later ranges go to the end directly
    refused     the first range to notice finds the new address, within the same attempt

A signed address is a secret, and it expires. kaiwo does not compute when, because the clock that
signed it is not ours. The address is tried instead.

See docs/decisions/0034.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

#: The addresses of at most this many files are kept; the one not used for longest is dropped.
_MOST = 256


class Addresses:
    """The addresses of the files under way. Called from many threads at once."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, Future[str]] = OrderedDict()
        self._lock = threading.Lock()

    def look_up(self, key: str, refused: str | None = None) -> tuple[Future[str], bool]:
        """The address of a file, and whether the caller must find it.

        A caller that must find it calls ``publish`` or ``fail`` with the future.

        Args:
            key: of the file.
            refused: an address that the server no longer accepts.
        """
        with self._lock:
            found = self._by_key.get(key)
            if found is not None and not (found.done() and found.result() == refused):
                self._by_key.move_to_end(key)
                return found, False
            found = self._by_key[key] = Future()
            if len(self._by_key) > _MOST:
                self._by_key.popitem(last=False)
            return found, True

    def publish(self, key: str, pending: Future[str], address: str) -> None:
        """Tell all who wait where the bytes are; called again when a redirect leads further."""
        if not pending.done():
            pending.set_result(address)
            return
        with self._lock:
            if self._by_key.get(key) is pending and pending.result() != address:
                self._by_key[key] = Future()
                self._by_key[key].set_result(address)

    def fail(self, key: str, pending: Future[str], error: BaseException) -> None:
        """Tell all who wait that the address was not found; the next caller tries again."""
        with self._lock:
            if self._by_key.get(key) is pending:
                del self._by_key[key]
        pending.set_exception(error)
