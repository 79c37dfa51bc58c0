"""A listing by obstore, to its real end.

To obstore, an answer that is no listing, and a page that does not say where the next one begins
(the first version of S3's listing), look like the last page. So kaiwo asks for what follows the
last key but one, until the answer is the last key and nothing else. This costs one more request
for each listing.

Keys out of order, and keys that come twice, are no listing: the fsspec source lists instead, by
tokens or markers. One exception: ``a/`` is listed as ``a``, so ``a`` may follow keys that lie
between the two.

Some services read a key in a query differently, and so the signature. If such a service refuses
the second request, the fsspec source lists.

See docs/decisions/0010.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from kaiwo.objects import RemoteObject
from kaiwo.sources.paging import Page
from kaiwo.sources.translation import NotForObstoreError

#: Objects that obstore hands over at once. A page that fails loses those that it has collected,
#: so a chunk is small. In the last request, all keys between ``a`` and ``a/`` must be in one chunk.
CHUNK, LAST_CHUNK = 50, 1000
#: Joins the two keys of a page's token; no key contains it.
_SEPARATOR = "\0"

#: Lists what follows a key, in chunks of that size, until the service says that this is the end.
ListAfter = Callable[[str, int], Iterator[list[RemoteObject]]]


class ListingAttempt:
    """One attempt at a listing.

    Args:
        list_after: lists what follows a key.
        token: the last two keys of an earlier attempt; empty at the beginning.

    Attributes:
        last: the last key that was listed; empty at the beginning.
    """

    def __init__(self, list_after: ListAfter, token: str) -> None:
        self._list_after = list_after
        self._before, _, self.last = token.partition(_SEPARATOR)

    def pages(self) -> Iterator[Page]:
        """All pages, to the real end.

        Raises:
            NotForObstoreError: the listing may be incomplete or wrong.
        """
        size, is_going_on = CHUNK, True
        while is_going_on:
            has_answer = is_going_on = False
            for found in self._list_after(self._before, size):
                self._remove_repeated(found, is_first=not has_answer)
                has_answer = True
                if found:
                    is_going_on = True
                    self._before = found[-2].key if len(found) > 1 else self.last
                    self.last = found[-1].key
                    yield found, f"{self._before}{_SEPARATOR}{self.last}"
            if self.last and not has_answer:
                raise NotForObstoreError("the last key is missing in the next request")
            size = LAST_CHUNK

    def _remove_repeated(self, found: list[RemoteObject], *, is_first: bool) -> None:
        """Remove the keys up to the last one, which come again; refuse keys out of order."""
        keys = [remote.key for remote in found]
        _require_order([self._before, *keys])
        if is_first and self.last in keys:
            # `a/` is listed as `a`: the keys between these two come again too.
            del found[: keys.index(self.last) + 1]


def _require_order(keys: Sequence[str]) -> None:
    """Refuse keys out of order, such as those of a listing that starts again.

    ``a/`` is listed as ``a``, and may follow the keys between these two.
    """
    if keys != sorted(keys) and not all(a < b or a < f"{b}/" for a, b in pairwise(keys)):
        raise NotForObstoreError("the keys are out of order")
