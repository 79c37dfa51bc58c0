"""Listings that come page by page: one that a failure cut goes on from there when it is repeated.

A listing of a million objects is a thousand requests, and each of them has repeats of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kaiwo.errors import TransientError
from kaiwo.objects import RemoteObject

#: Objects, and the place where those after them begin; empty after the last.
Page = tuple[Sequence[RemoteObject], str]


class Paged:
    """What listings had brought that a failure cut, by their prefixes."""

    def __init__(self) -> None:
        self._cut: dict[str, tuple[list[RemoteObject], str]] = {}

    def all(
        self, prefix: str, pages: Callable[[str], Iterator[Page]], what: str
    ) -> list[RemoteObject]:
        """Everything below a prefix.

        Args:
            prefix: what is listed.
            what: the same, for people.
            pages: those from a place on; from an empty one, all.

        Raises:
            TransientError: of a page, with how many objects had come; or a page leads back to
                where the listing has been.
        """
        found, place = self._cut.pop(prefix, ([], ""))
        been = set()
        following = pages(place)
        while True:
            try:
                page, place = next(following, ((), ""))
            except TransientError as error:
                self._cut[prefix] = found, place
                raise type(error)(error.message, error.retry_after_s, len(found)) from None
            found += page
            if not place:
                return found
            if place in been:
                raise TransientError(f"listing {what}: a page leads back to one before it")
            been.add(place)
