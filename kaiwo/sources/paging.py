"""Listings page by page: after a failed page, a repeated listing continues with that page.

A listing of a million objects is a thousand requests. Each of them has its own retries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kaiwo.errors import TransientError
from kaiwo.objects import RemoteObject

#: Objects, and the token of the next page; the token is empty after the last page.
Page = tuple[Sequence[RemoteObject], str]


class PagedListing:
    """The listings of one source; keeps what came before a page failed, for each prefix."""

    def __init__(self) -> None:
        self._partial: dict[str, tuple[list[RemoteObject], str]] = {}

    def list_all(
        self, prefix: str, pages: Callable[[str], Iterator[Page]], what: str
    ) -> list[RemoteObject]:
        """All objects below a prefix.

        Args:
            prefix: what is listed.
            pages: yields the pages from a token on; all pages for an empty token.
            what: the URL of the prefix, for messages.

        Raises:
            TransientError: a page failed (``reached`` is the number of objects before it), has an
                object without a name, or leads back to an earlier page.
        """
        found, token = self._partial.pop(prefix, ([], ""))
        seen = set()
        following = pages(token)
        while True:
            try:
                page, after = next(following, ((), ""))
                _require_names(page, what)
            except TransientError as error:
                self._partial[prefix] = found, token
                raise type(error)(error.message, error.retry_after_s, len(found)) from None
            found += page
            token = after
            if not token:
                return found
            if token in seen:
                raise TransientError(f"listing {what}: a page leads back to one before it")
            seen.add(token)


def _require_names(page: Sequence[RemoteObject], what: str) -> None:
    if not all(each.key for each in page):
        raise TransientError(f"listing {what}: an object has no name")
