"""A listing of S3 by the SDK, to its real end.

A page may say wrongly that it is the last one: compatible stores leave out ``IsTruncated``, or
write ``True`` or ``1``, which the SDK reads as false. So the pages are followed like this:

1. A token (``NextContinuationToken``) or a marker (``NextMarker``) is followed in any case.
2. A page that says that more follows, and names neither, comes from a service that knows only the
   first version of listings. The last key is the marker of the next page.
3. Where neither is the case, kaiwo asks for what follows the last key but one. The listing is
   complete when the answer is the last key and nothing else. This costs one more request for each
   listing.

The third rule needs keys in order and a service that can begin after a key. If the service cannot
do that in either version, the page is believed, but only if it holds ``IsTruncated``.

- A service that refuses the second version of listings is listed by the first.
- The SDK takes an empty body, or a document that is no listing, for a last page. kaiwo asks
  again.

See docs/decisions/0010.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec
from botocore.exceptions import ClientError
from msgspec import Struct
from msgspec.structs import replace

from kaiwo.errors import ServiceError, TransientError
from kaiwo.objects import RemoteObject
from kaiwo.sources.base import StoreSource
from kaiwo.sources.paging import Page

logger = logging.getLogger(__name__)
#: The answer to a listing has at least one of these, from any service.
_LISTING = {"Contents", "IsTruncated", "KeyCount", "MaxKeys", "Name"}
#: Method not allowed, not implemented.
_UNSUPPORTED = (405, 501)
#: Codes under status 400 of services that do not know the second version of listings.
_UNSUPPORTED_CODES = (
    "InvalidArgument",
    "InvalidRequest",
    "MethodNotAllowed",
    "NotImplemented",
    "NotSupported",
    "UnsupportedOperation",
)
#: Failures that pass, of any request; 0 is an answer that did not come.
_PASSING = (0, 408, 425, 429, 502, 503, 504)
#: The versions of S3's listings.
Version = Literal[1, 2]


class Place(Struct, frozen=True):
    """Where a page begins.

    Attributes:
        version: of the listing that is requested.
        token: of the page, in the second version.
        marker: the key that the page follows, in the first version.
        is_check: the page only shows whether anything follows the last key.
        is_second_check: the other version could not tell.
        is_stated: the page before says that nothing follows.
        is_sorted: all keys so far came in order.
        before: the last key but one so far.
        last: the last key so far.
    """

    version: Version
    token: str = ""
    marker: str = ""
    is_check: bool = False
    is_second_check: bool = False
    is_stated: bool = False
    is_sorted: bool = True
    before: str = ""
    last: str = ""


class S3Listing:
    """Lists one bucket.

    Args:
        source: maps errors.
        call: calls a method of the SDK for the bucket.
        parse: makes an object of an entry; None leaves it out.
    """

    def __init__(
        self,
        source: StoreSource,
        call: Callable[..., Any],
        parse: Callable[[Any], RemoteObject | None],
    ) -> None:
        self._source = source
        self._call = call
        self._parse = parse
        #: Which version the service knows.
        self._version: Version = 2

    def pages(self, prefix: str, token: str) -> Iterator[Page]:
        """The pages of a listing from a token on; see ``StoreSource.list_pages``."""
        place: Place | None = Place(self._version)
        if token:
            place = msgspec.json.decode(token, type=Place)
        while place is not None:
            with self._source.translating("listing", prefix):
                follow = self._check if place.is_check else self._list
                entries, place = follow(prefix, place)
                parsed = [self._parse(each) for each in entries if not each["Key"].endswith("/")]
            found = [remote for remote in parsed if remote is not None]
            yield found, "" if place is None else msgspec.json.encode(place).decode()

    def _list(self, prefix: str, place: Place) -> tuple[Sequence[Any], Place | None]:
        """The entries of a page, and the next page."""
        try:
            page = self._request(prefix, place)
        except Exception as error:
            if not place.last and place.version == 2 and _is_unsupported(error):  # noqa: PLR2004
                page = self._request_first_version(prefix, error)
                place = Place(self._version)
            else:
                raise
        # Some services begin a page with its marker.
        entries = [entry for entry in page.get("Contents", ()) if entry["Key"] != place.last]
        return entries, self._next(prefix, page, entries, place)

    def _request_first_version(self, prefix: str, refusal: Exception) -> Any:
        """The first page by the first version of listings, after a refusal of the second."""
        try:
            page = self._request(prefix, Place(1))
        except Exception as error:
            # The service refuses any listing; what it said first is the reason, in the cause.
            logger.debug("%s: nor the first version: %s", self._what(prefix), type(error).__name__)
            raise refusal from refusal.__cause__
        self._version = 1
        logger.info("%s: the service knows only the first version of listings", self._what(prefix))
        return page

    def _next(self, prefix: str, page: Any, entries: Sequence[Any], place: Place) -> Place | None:
        """The page that follows a page; None if there are no objects."""
        keys = [place.before, place.last, *(entry["Key"] for entry in entries)]
        so_far = Place(
            place.version,
            is_sorted=place.is_sorted and keys[1:] == sorted(keys[1:]),
            before=keys[-2],
            last=keys[-1],
        )
        is_truncated = page.get("IsTruncated")
        token, marker = page.get("NextContinuationToken", ""), page.get("NextMarker", "")
        is_new = bool(entries) or is_truncated
        if token and (is_new or token != place.token):
            return replace(so_far, version=2, token=token)
        if marker and (is_new or marker != place.marker):
            return replace(so_far, version=1, marker=marker)
        if is_truncated:
            if not entries:
                raise ServiceError(
                    f"{self._what(prefix)}: the service does not say where the next page begins"
                )
            return replace(so_far, version=1, marker=so_far.last)
        if not so_far.last:
            return None
        # Answers of the first version have no KeyCount.
        version: Version = 2 if place.version == 2 and "KeyCount" in page else 1  # noqa: PLR2004
        is_stated = "IsTruncated" in page
        return replace(so_far, version=version, is_check=True, is_stated=is_stated)

    def _check(self, prefix: str, place: Place) -> tuple[Sequence[Any], Place | None]:
        """What follows the last key, and the next page."""
        if not place.is_sorted:
            return self._believe(prefix, place)
        try:
            page = self._request(prefix, place)
        except Exception as error:
            if _refusal(error)[0] in _PASSING:
                raise
            page = {}  # some services fail on keys in a query that they list
        keys = [entry["Key"] for entry in page.get("Contents", ())]
        # Otherwise the service does not begin after a key, but lists everything again.
        if all(key >= place.before for key in keys):
            fresh = [entry for entry in page.get("Contents", ()) if entry["Key"] > place.last]
            if fresh or page.get("NextContinuationToken") or page.get("IsTruncated"):
                return fresh, self._next(prefix, page, fresh, place)
            if place.last in keys or (page and not place.before):
                return (), None
        if place.is_second_check or (place.version, self._version) == (1, 1):
            return self._believe(prefix, place)
        other: Version = 1 if place.version == 2 else 2  # noqa: PLR2004
        return (), replace(place, version=other, is_second_check=True)

    def _believe(self, prefix: str, place: Place) -> tuple[Sequence[Any], None]:
        """The end of a listing that only its last page states.

        Raises:
            ServiceError: it does not state that.
        """
        if not place.is_stated:
            raise ServiceError(
                f"{self._what(prefix)}: the service does not say whether more follows"
            )
        logger.debug("%s: the end could not be checked", self._what(prefix))
        return (), None

    def _request(self, prefix: str, place: Place) -> Any:
        """The answer to the request for a page.

        Raises:
            TransientError: the answer is not a listing.
        """
        # With a single key so far, nothing must follow it.
        after = (place.before or place.last) if place.is_check else ""
        if place.version == 1:
            arguments = {"Marker": place.marker or after}
            page = self._call("list_objects", Prefix=prefix, **_given(arguments))
        else:
            arguments = {"ContinuationToken": place.token, "StartAfter": after}
            page = self._call("list_objects_v2", Prefix=prefix, **_given(arguments))
        if not _LISTING & page.keys():
            # An empty body, or a document of another kind; the SDK takes it for a last page.
            raise TransientError(f"{self._what(prefix)}: the answer is not a listing")
        if page.get("CommonPrefixes"):
            raise ServiceError(
                f"{self._what(prefix)}: the service lists folders, and not what is in them"
            )
        return page

    def _what(self, prefix: str) -> str:
        return self._source.describe("listing", prefix)


def _given(arguments: dict[str, str]) -> dict[str, str]:
    """The arguments that have a value."""
    return {name: value for name, value in arguments.items() if value}


def _refusal(error: Exception) -> tuple[int, str]:
    """Status and code of the answer that an error is about; 0 if there was none."""
    # s3fs maps botocore's errors to Python's, and keeps them as the cause.
    cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    if not isinstance(cause, ClientError):
        return 0, ""
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status), str(cause.response.get("Error", {}).get("Code", ""))


def _is_unsupported(error: Exception) -> bool:
    """Whether the service may know only the first version of listings."""
    status, code = _refusal(error)
    return status in _UNSUPPORTED or (status == 400 and code in _UNSUPPORTED_CODES)  # noqa: PLR2004
