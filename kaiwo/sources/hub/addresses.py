"""Where the bytes of files really are: found out once, by one request, for all ranges of a file.

    nobody knows it    the first to ask is to find it out, with the very request that it has to make
                       anyway; all others wait for what it finds, or fail as it does
    it is known        as soon as the first redirect leads to another host; if that leads further,
                       those who come later go to the end directly
    it is refused      the first to say so finds it out anew

An address may be signed, so it is a secret, and it expires: by the clock of whoever signed it, so
it is tried and not judged.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

#: No more files than this are on their way at once; what was not asked for longest is forgotten.
_MOST = 256


class Addresses:
    """The addresses of the files that are on their way. Called from many threads at once."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Future[str]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: str, refused: str | None = None) -> tuple[Future[str], bool]:
        """Its address, and whether it is the caller who has to find it out.

        Whoever has to, sets the future's result, or calls ``lost``.

        Args:
            key: of the file.
            refused: an address that is of no use any more.
        """
        with self._lock:
            known = self._known.get(key)
            if known is not None and not (known.done() and known.result() == refused):
                self._known.move_to_end(key)
                return known, False
            known = self._known[key] = Future()
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
            return known, True

    def known(self, key: str, asked: Future[str], address: str) -> None:
        """It is there, or will be found from there; called again once it is known better."""
        if not asked.done():
            asked.set_result(address)
            return
        with self._lock:
            if self._known.get(key) is asked and asked.result() != address:
                self._known[key] = Future()
                self._known[key].set_result(address)

    def lost(self, key: str, asked: Future[str], error: BaseException) -> None:
        """It could not be found out; the next one to ask is to try anew."""
        with self._lock:
            if self._known.get(key) is asked:
                del self._known[key]
        asked.set_exception(error)
