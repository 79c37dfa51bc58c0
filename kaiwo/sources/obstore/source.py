"""The obstore source: any store that obstore knows, with the task's fsspec source behind it.

obstore (Rust) moves bytes for a fraction of the cost of the SDKs, but it knows less than they do.
What it cannot do goes to the fsspec source, which is opened when it is first needed:

    list      GCS and Azure: obstore's listing drops crc32c, generation and Content-MD5. Keys with
              ``//``, ``.``, ``..``, control characters or a slash at an end: obstore's listing
              fails on them, or silently strips the slash of ``/a`` and ``a/``
    inspect   obstore shows no response headers, so no checksums
    read      keys that it cannot name; ranges of servers that answer them oddly (rclone's: the
              right range under status 200)
    wait      obstore does not show ``Retry-After``, see ``fallback``
    all       after a certificate that OpenSSL takes and rustls does not, a redirect to another
              region, or an emulator of GCS that speaks JSON only

See docs/decisions/0005 and 0009.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError, InvalidPathError

from kaiwo.errors import ChangedError, KaiwoError, NotFoundError, TransientError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Listed, Source
from kaiwo.sources.base import OfferingSource
from kaiwo.sources.folder_markers import is_marker, not_a_file
from kaiwo.sources.identity import Identity, TokenError
from kaiwo.sources.obstore.cheap_look import Look, looked
from kaiwo.sources.obstore.errors import (
    FallbackReason,
    description,
    error_code,
    fallback_reason,
    is_of_sign_in,
    is_unauthorized,
    map_text,
)
from kaiwo.sources.obstore.fallback import (
    Fallback,
    RefusalHiddenError,
    RetryAfterHiddenError,
    with_another_token,
)
from kaiwo.sources.obstore.lister import Lister, NothingFoundError
from kaiwo.sources.obstore.reading import Pin, PinnedReader, marker_attributes, require_length
from kaiwo.sources.obstore.second_look import is_unchanged
from kaiwo.sources.pieces import Taken, begun
from kaiwo.sources.s3_head import parse_entry
from kaiwo.sources.translation import NotForObstoreError, Translation, is_panic, with_signer
from kaiwo.workers.doubts import settled

_UNNAMEABLE = re.compile(r"(^|/)(\.{0,2})(/|$)|[\x00-\x1f\x7f]")
T = TypeVar("T")
logger = logging.getLogger(__name__)


class ObstoreSource(OfferingSource):
    """The objects of one bucket.

    Args:
        store: an obstore store that repeats nothing.
        url: see ``StoreSource``.
        address: see ``StoreSource``.
        pin: what part of the identity a request can be bound to.
        lists: the store's listing and HEAD state all that planning needs.
        look: see ``Look``; None: only the fsspec source can ask.
        fallback: opens the fsspec source of the same bucket.
        signer: see ``StoreSource``.
    """

    def __init__(
        self,
        store: Any,
        url: str,
        address: str,
        *,
        pin: Pin,
        lists: bool,
        fallback: Callable[[], Source],
        look: Look | None = None,
        signer: Callable[[], str] = str,
    ) -> None:
        super().__init__(url, address, signer)
        self._store = store
        self._pin = pin
        self._lists = lists
        self._look = look
        self._identity: Identity | None = getattr(store.credential_provider, "identity", None)
        self._fallback = Fallback(fallback, url)
        self._reader = PinnedReader(store, pin)
        self._lister = Lister(self, store, self._fallback)

    def close(self) -> None:
        """See ``protocols.Source``."""
        self._reader.close()
        if self._look is not None:
            self._look.close()
        self._fallback.close()

    @property
    def is_bypassed(self) -> bool:
        """Whether the fsspec source does everything from now on."""
        return self._fallback.is_for_all

    def fallback(self) -> Source:
        """The fsspec source of the same bucket, opened when it is first needed."""
        return self._fallback.source()

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return settled(*self.list_asking(prefix, lambda _: True), self.display_url(prefix))

    def list_asking(self, prefix: str, asks: Callable[[RemoteObject], bool]) -> Listed:
        """See ``protocols.Source``."""
        if not self._lists or self.is_bypassed or _is_unnameable(prefix.removesuffix("/")):
            return self.fallback().list_asking(prefix, asks)
        try:
            return self._lister.list_objects(prefix, asks)
        except RetryAfterHiddenError as busy:
            return self._fallback.instead(lambda: self.fallback().list_asking(prefix, asks), busy)
        except NotForObstoreError as reason:
            level = logging.DEBUG if isinstance(reason, NothingFoundError) else logging.INFO
            logger.log(level, "%s%s is listed through fsspec: %s", self._url, prefix, reason)
            return self.fallback().list_asking(prefix, asks)

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        if not self._lists or self.is_bypassed or _is_unnameable(key):
            return self.fallback().stat(key)
        try:
            with self.diverting("looking up", key):
                # Unlike ``obstore.head``, this shows the content type.
                answer = obstore.get(self._store, key, options={"head": True})
                meta = answer.meta
                if is_marker(key, meta["size"], *marker_attributes(answer)):
                    raise not_a_file(self.describe("looking up", key))
                require_length(meta)
                return parse_entry(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])
        except NotForObstoreError as reason:
            return self._fallback.instead(lambda: self.fallback().stat(key), reason)

    def stat_by_reading(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self.fallback().stat_by_reading(key)

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self._looked(key, self._look) or self.fallback().fetch_checksum(key)

    def pin(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self._looked(key, self._look and self._look.pin) or self.fallback().pin(key)

    def _looked(self, key: str, look: Callable[[str], RemoteObject] | None) -> RemoteObject | None:
        """The answer to the cheap question; None if there is none."""
        if look is None or self.is_bypassed:
            return None
        return looked(look, key, self.display_url(key))

    def part_lengths(self, key: str, count: int) -> tuple[int, ...] | None:
        """See ``protocols.Source``."""
        return self.fallback().part_lengths(key, count)

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        named = self.display_url(remote.key)
        return self._by_either(
            remote,
            start,
            end,
            lambda: self._reader.read(remote, start, end, named),
            lambda: self.fallback().read(remote, start, end),
        )

    def _stream(
        self, remote: RemoteObject, start: int, end: int, piece: int, taken: Taken | None
    ) -> Iterator[Buffer]:
        named = self.display_url(remote.key)
        pieces = self._by_either(
            remote,
            start,
            end,
            lambda: self._reader.stream(remote, start, end, piece, named, taken),
            lambda: begun(self.fallback().stream(remote, start, end, piece)),
        )
        yield from self.read_pieces(pieces, remote, end - start, taken)

    def _by_either(
        self,
        remote: RemoteObject,
        start: int,
        end: int,
        by_obstore: Callable[[], T],
        by_fsspec: Callable[[], T],
    ) -> T:
        """What obstore makes of a request for a range, or the fsspec source where it must."""
        is_whole = (start, end) == (0, remote.size)
        is_odd_range = self._fallback.is_for_ranges and not is_whole
        if self.is_bypassed or _is_unnameable(remote.key) or is_odd_range:
            return by_fsspec()
        try:
            if self._identity is None:
                return self._sent(remote, by_obstore)
            with self.diverting("reading", remote.key):
                return with_another_token(self._identity, lambda: self._sent(remote, by_obstore))
        except NotForObstoreError as reason:
            return self._fallback.instead(by_fsspec, reason)
        except (ChangedError, NotFoundError):
            # An emulator of GCS that speaks JSON only has nothing at obstore's addresses.
            if not is_unchanged(self.fallback(), remote, self.display_url):
                raise
            self._fallback.take_all("obstore does not find an object that exists")
            return by_fsspec()

    def _sent(self, remote: RemoteObject, by_obstore: Callable[[], T]) -> T:
        with self.diverting("reading", remote.key):
            return by_obstore()

    def classify(self, error: Exception) -> KaiwoError:
        """See ``protocols.Source``."""
        opened = self._fallback.opened
        if opened is not None and not isinstance(error, BaseError | FileNotFoundError):
            return opened.classify(error)
        return super().classify(error)

    def diverting(self, operation: str, key: str) -> Translation:
        """As ``translating``; but NotForObstoreError where the fsspec source may succeed."""
        return Translation(self._to_diverted, operation, key)

    def _to_diverted(self, error: Exception, operation: str, key: str) -> KaiwoError:
        what = self.describe(operation, key)
        return self._judge(error, what) or self._map(error, what)

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``; too late for the fsspec source, which gets the next attempt."""
        try:
            return self._judge(error, what)
        except (RetryAfterHiddenError, RefusalHiddenError) as hidden:
            return hidden.error
        except NotForObstoreError as reason:
            return TransientError(f"{what}: {reason}")

    def _judge(self, error: Exception, what: str) -> KaiwoError | None:
        """The kaiwo error for one of obstore's.

        Raises:
            NotForObstoreError: the fsspec source may succeed.
        """
        if isinstance(error, TokenError):
            return self.fallback().classify(error)
        if isinstance(error, ValueError | OverflowError):
            raise NotForObstoreError("a date in the answer is out of range") from error
        if not (isinstance(error, BaseError | FileNotFoundError) or is_panic(error)):
            return None
        text = description(error)
        failed = getattr(self._store.credential_provider, "error", None)
        if failed is not None and is_of_sign_in(text):
            return failed if isinstance(failed, KaiwoError) else self.fallback().classify(failed)
        if isinstance(error, InvalidPathError):
            raise NotForObstoreError("obstore cannot name some of the keys") from error
        if is_panic(error):
            raise NotForObstoreError("obstore cannot express the request") from error
        found = with_signer(map_text(text, what, by_version=self._pin == "version"), self._signer)
        reason, code = fallback_reason(text, found), error_code(text)
        if reason is FallbackReason.REFUSAL:
            if self._fallback.believes(code):
                return found
            raise RefusalHiddenError(found, code, is_unauthorized(text))
        if reason is None:
            return found
        raise self._pass_on(reason, found, what)

    def _pass_on(self, reason: FallbackReason, found: KaiwoError, what: str) -> NotForObstoreError:
        """Note what the fsspec source does from now on; the error that makes it do so."""
        match reason:
            case FallbackReason.PATIENCE if isinstance(found, TransientError):
                return RetryAfterHiddenError(found)
            case FallbackReason.RANGES:
                self._fallback.take_ranges()
            case FallbackReason.LANGUAGE if what.startswith("listing"):
                pass  # it may know the first version of S3's listings only, and read well
            case FallbackReason.CONNECTION | FallbackReason.REDIRECT | FallbackReason.LANGUAGE:
                self._fallback.take_all(reason.value)
        return NotForObstoreError(reason.value)


def _is_unnameable(key: str) -> bool:
    """Whether obstore refuses the key, or reads another one instead."""
    return bool(key) and _UNNAMEABLE.search(key) is not None
