"""A listing by obstore, to its real end.

What is no listing, or does not say where it goes on, looks like a last page to obstore. So it is
asked for what follows until nothing comes after the last key, and in such a way that this one has
to come once more: after the key before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from kaiwo.objects import RemoteObject
from kaiwo.sources.base import NotForObstoreError
from kaiwo.sources.paging import Page

#: So many objects are taken at once, which a page that fails takes with it; and at the end, where
#: all that lies between `a` and `a/` has to be in one.
CHUNK, LONG_CHUNK = 50, 1000
#: Between the two keys that are a place; none has it in it.
_AND = "\0"

#: What is listed after a key, so many at a time, until the service says that this is the end.
Ask = Callable[[str, int], Iterator[list[RemoteObject]]]


class Walk:
    """One attempt at a listing.

    Args:
        ask: for what follows.
        place: the last two keys that an earlier attempt came to; empty at the beginning.

    Attributes:
        last: the last key that has come.
    """

    def __init__(self, ask: Ask, place: str) -> None:
        self._ask = ask
        self._before, _, self.last = place.partition(_AND)

    def pages(self) -> Iterator[Page]:
        """What comes, to the end.

        Raises:
            NotForObstoreError: it may not be all, or not what it seems to be.
        """
        size, came = CHUNK, True
        while came:
            some = came = False
            for found in self._ask(self._before, size):
                self._cut(found, is_first=not some)
                some = True
                if found:
                    came = True
                    self._before = found[-2].key if len(found) > 1 else self.last
                    self.last = found[-1].key
                    yield found, f"{self._before}{_AND}{self.last}"
            if self.last and not some:
                raise NotForObstoreError("what was there a moment ago is not listed")
            size = LONG_CHUNK

    def _cut(self, found: list[RemoteObject], *, is_first: bool) -> None:
        """Take away what has come before, up to the last key; and refuse what is out of order."""
        keys = [remote.key for remote in found]
        _require_order([self._before, *keys])
        if is_first and self.last in keys:
            # `a/` is told as `a`: what is between these two comes once more, too.
            del found[: keys.index(self.last) + 1]


def _require_order(keys: Sequence[str]) -> None:
    """Refuse keys that do not follow each other, such as those of a listing that begins anew.

    ``a/`` is told as ``a``, and may follow what comes between these two.
    """
    if keys != sorted(keys) and not all(a < b or a < f"{b}/" for a, b in pairwise(keys)):
        raise NotForObstoreError("the keys do not come in their order")
