"""A listing of Google Cloud Storage, to its real end.

The last page is the one without ``nextPageToken``, and a page that lacks it looks like the last
one. So kaiwo asks for what follows from the last name on (``startOffset``): the listing is complete
when the answer is that name and nothing else. This costs one more request for each listing.

- A page may be empty although others follow. One that has lost its ``items`` looks the same, so
  kaiwo asks for an empty page twice.
- A page with ``prefixes`` lists folders, and not what is in them, though no delimiter was given.
- An answer without ``items``, ``kind`` and ``nextPageToken`` is no listing.
- Emulators that do not know ``startOffset`` list everything again. Then the last page is believed.

See docs/decisions/0010.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kaiwo.errors import ServiceError, TransientError
from kaiwo.objects import RemoteObject
from kaiwo.sources.base import StoreSource
from kaiwo.sources.paging import Page

logger = logging.getLogger(__name__)
#: The answer to a listing has at least one of these, in lower case.
_LISTING = {"items", "kind", "nextpagetoken"}
Entry = Mapping[str, Any]


class Place(Struct, frozen=True):
    """Where a page begins.

    Attributes:
        token: of the page; empty for the first one.
        start: the name from which on it lists; empty for all names.
        last: the last name so far.
        is_empty: it was empty when it was asked for.
    """

    token: str = ""
    start: str = ""
    last: str = ""
    is_empty: bool = False


class GcsListing:
    """Lists one bucket.

    Args:
        source: maps errors.
        request: gives the answer to a listing with these parameters.
        parse: makes an object of an entry; None leaves it out.
    """

    def __init__(
        self,
        source: StoreSource,
        request: Callable[[dict[str, str]], dict[str, Any]],
        parse: Callable[[Entry], RemoteObject | None],
    ) -> None:
        self._source = source
        self._request = request
        self._parse = parse

    def pages(self, prefix: str, token: str) -> Iterator[Page]:
        """The pages of a listing from a token on; see ``StoreSource.list_pages``."""
        place: Place | None = msgspec.json.decode(token, type=Place) if token else Place()
        while place is not None:
            with self._source.translating("listing", prefix):
                entries, place = self._list(prefix, place)
                parsed = [self._parse(each) for each in entries if not each["name"].endswith("/")]
            found = [remote for remote in parsed if remote is not None]
            yield found, "" if place is None else msgspec.json.encode(place).decode()

    def _list(self, prefix: str, place: Place) -> tuple[Sequence[Entry], Place | None]:
        """The entries of a page that are new, and the next page."""
        parameters = {"prefix": prefix, "maxResults": "1000"}
        parameters |= {"pageToken": place.token} if place.token else {}
        parameters |= {"startOffset": place.start} if place.start else {}
        # A gateway may spell names in another way; a page without its entries looks like the end.
        page = {name.lower(): value for name, value in self._request(parameters).items()}
        what = self._source.describe("listing", prefix)
        if not _LISTING & page.keys():
            raise TransientError(f"{what}: the answer is not a listing")
        if page.get("prefixes"):
            raise ServiceError(f"{what}: the service lists folders, and not what is in them")
        entries: Sequence[Entry] = page.get("items", ())
        token = page.get("nextpagetoken")
        if not entries and token and not place.is_empty:
            return (), replace(place, is_empty=True)
        is_check = bool(place.start) and not place.token
        if is_check:
            if not entries and not token:
                what = self._source.describe("listing", prefix)
                raise TransientError(f"{what}: the answer lacks the object that was listed last")
            if any(entry["name"] < place.start for entry in entries):
                what = self._source.describe("listing", prefix)
                logger.debug("%s: the end could not be checked", what)
                return (), None
            entries = [entry for entry in entries if entry["name"] > place.last]
        last = entries[-1]["name"] if entries else place.last
        if token:
            return entries, Place(str(token), place.start, last)
        if not last or (is_check and not entries):
            return entries, None
        return entries, Place("", last, last)
