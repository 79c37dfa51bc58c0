"""The fast engine: any store of obstore, with the task's fsspec source behind it.

obstore (Rust) moves bytes at a fraction of the cost of the SDKs, but knows less than they do. What
it cannot do is asked of the fsspec source, which is opened when it is first needed:

    list      where obstore's listing lacks what identity and verification need (GCS, Azure), and
              where it cannot be trusted: it fails on keys such as ``a//b``, and strips the slash
              from ``/a`` and ``a/`` in silence
    inspect   it shows no headers, so no checksums
    read      keys that it cannot name; ranges of servers that answer them oddly; how long a
              service that is busy wants to be left alone; and everything, once it has met a
              certificate, a redirect or a setting that it cannot handle

Small objects are read by its synchronous call, ranges by the asynchronous one on a loop of our
own: the former costs less for each request, the latter for each byte. Every request is pinned to
the planned identity, and what comes back is checked again.
"""

from __future__ import annotations

import builtins
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import obstore
from obstore.exceptions import BaseError, InvalidPathError

from kaiwo.errors import (
    ChangedError,
    KaiwoError,
    NotFoundError,
    PlaceholderError,
    TransientError,
)
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Source
from kaiwo.sources.answers import check_identity, plain_etag
from kaiwo.sources.base import STREAM_CHUNK, NotForObstoreError, StoreSource
from kaiwo.sources.obstore.errors import FallbackReason, error_of, fallback_reason
from kaiwo.sources.obstore.listing import Walk
from kaiwo.sources.paging import Page
from kaiwo.sources.s3_head import listed

if TYPE_CHECKING:
    from kaiwo.sources.obstore.event_loop import Loop

#: From this size on, a read is asynchronous; below, the request costs more than its bytes.
LARGE = 1 << 20
#: Listed objects may be placeholders of folders, above all those without bytes; so many of them
#: are looked at.
MOST_DOUBTFUL = 100
#: A service that does not say how long to wait is not asked for it more often than this.
ASKS_EVERY_S = 1.0
T = TypeVar("T")
_UNNAMEABLE = re.compile(r"(^|/)(\.{0,2})(/|$)|[\x00-\x1f\x7f]")
logger = logging.getLogger(__name__)


class RetryAfterHiddenError(NotForObstoreError):
    """The service is in trouble, and may have said how long to wait, which obstore does not show.

    ``otherwise`` is the error if it has not.
    """

    def __init__(self, otherwise: TransientError) -> None:
        super().__init__(otherwise.message)
        self.otherwise = otherwise


class ObstoreSource(StoreSource):
    """The objects of one bucket.

    Args:
        store: an obstore store that repeats nothing.
        url: see ``StoreSource``.
        address: see ``StoreSource``.
        pin: what identity a request can be bound to.
        lists: the store's listing and HEAD tell all that planning needs.
        look: a light way to ask for an object's checksum, which may fail.
        fallback: opens the fsspec source of the same bucket.
    """

    def __init__(
        self,
        store: Any,
        url: str,
        address: str,
        *,
        pin: Literal["etag", "version"],
        lists: bool,
        fallback: Callable[[], Source],
        look: Callable[[str], RemoteObject] | None = None,
    ) -> None:
        super().__init__(url, address)
        self._store = store
        self._pin = pin
        self._lists = lists
        self._fallback = fallback
        self._look = look
        self._sure: Source | None = None
        self._loop: Loop | None = None
        self._lock = threading.Lock()
        self._switched = False
        self._ranges = True
        self._asking = threading.Lock()
        self._quiet_until_s = 0.0
        self._is_told = False

    def close(self) -> None:
        """See ``protocols.Source``."""
        if self._loop is not None:
            self._loop.close()
        if self._sure is not None:
            self._sure.close()

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        if not self._lists or self._switched or _unnameable(prefix.removesuffix("/")):
            return self.fallback().list(prefix)
        try:
            return iter(self._listed(prefix))
        except RetryAfterHiddenError as busy:
            return self._how_long(lambda: self.fallback().list(prefix), busy.otherwise)
        except NotForObstoreError as reason:
            logger.info("%s%s is listed through fsspec: %s", self._url, prefix, reason)
            return self.fallback().list(prefix)

    def _listed(self, prefix: str) -> Sequence[RemoteObject]:
        """All objects below a prefix; NotForObstoreError where the listing may be wrong."""
        found = self._found(prefix) if prefix else self._whole_bucket()
        if not found:
            # An answer that is no listing looks empty.
            raise NotForObstoreError("nothing was found")
        if len({remote.key for remote in found}) < len(found):
            raise NotForObstoreError("some keys are told twice")
        doubtful = [remote for remote in found if remote.size == 0]
        # `a/` is told as `a`, and comes right before what is below it.
        doubtful += [
            one
            for one, after in pairwise(found)
            if one.size and after.key.startswith(f"{one.key}/")
        ]
        if len(doubtful) > MOST_DOUBTFUL:
            raise NotForObstoreError("many objects are empty, or may be placeholders of folders")
        placeholders = {id(remote) for remote in doubtful if not self._is_there(remote)}
        return [remote for remote in found if id(remote) not in placeholders]

    def _whole_bucket(self) -> Sequence[RemoteObject]:
        """All objects; asked meanwhile is whether keys begin with a slash, which is not shown."""
        beside = ThreadPoolExecutor(1, thread_name_prefix="kaiwo-root")
        top = beside.submit(obstore.list_with_delimiter, self._store)
        beside.shutdown(wait=False)
        found = self._found("")
        with self.translating("listing", ""):
            folders = top.result()["common_prefixes"]
        if "" in folders:
            raise NotForObstoreError("keys begin with a slash")
        return found

    def _found(self, prefix: str) -> Sequence[RemoteObject]:
        """What obstore lists below a prefix, to the end."""
        return self.list_pages(prefix, partial(self._chunks, prefix))

    def _chunks(self, prefix: str, place: str) -> Iterator[Page]:
        """What is listed from a place on; see ``Walk``."""
        walk = Walk(partial(self._after, prefix), place)
        try:
            yield from walk.pages()
        except RetryAfterHiddenError as busy:
            if not walk.last:
                raise
            # The fsspec source would begin anew, but another question tells as much.
            with contextlib.suppress(NotFoundError):
                self._how_long(partial(self.fallback().stat, walk.last), busy.otherwise)
            raise busy.otherwise from None
        except KaiwoError as error:
            if not walk.last or isinstance(error, TransientError):
                raise
            # There are services that read a key in a query, and so the signature, otherwise.
            raise NotForObstoreError("it does not list what follows a key") from None

    def _after(self, prefix: str, key: str, size: int) -> Iterator[builtins.list[RemoteObject]]:
        """What is listed after a key, or all, until the service says that this is the end."""
        with self.translating("listing", prefix):
            for page in obstore.list(self._store, prefix, offset=key or None, chunk_size=size):
                yield [listed(meta["path"], meta["size"], meta["e_tag"]) for meta in page]

    def _is_there(self, remote: RemoteObject) -> bool:
        """Whether an object has this key; ``a/`` is listed as ``a``."""
        try:
            return self.stat(remote.key).identity == remote.identity
        except NotFoundError:
            return False

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        if not self._lists or self._switched or _unnameable(key):
            return self.fallback().stat(key)
        try:
            with self.translating("looking up", key):
                return _described(obstore.head(self._store, key))
        except RetryAfterHiddenError as busy:
            return self._how_long(lambda: self.fallback().stat(key), busy.otherwise)
        except NotForObstoreError:
            return self.fallback().stat(key)

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        if self._look is not None and not self._switched:
            try:
                return self._look(key)
            except Exception as error:
                # What it is, the fsspec source will tell, or get over.
                logger.debug("%s: %s, asking through fsspec", self.display_url(key), type(error))
        return self.fallback().fetch_checksum(key)

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        whole = (start, end) == (0, remote.size)
        if self._switched or _unnameable(remote.key) or not (self._ranges or whole):
            return self.fallback().read(remote, start, end)
        options = self._options(remote) if whole else self._options(remote, start, end)
        try:
            with self.translating("reading", remote.key):
                if end - start < LARGE:
                    answer = obstore.get(self._store, remote.key, options=options)
                    self._check(answer, remote)
                    return memoryview(answer.bytes())
                return self._running().result(self._read(remote, options))
        except RetryAfterHiddenError as busy:
            return self._how_long(lambda: self.fallback().read(remote, start, end), busy.otherwise)
        except NotForObstoreError:
            return self.fallback().read(remote, start, end)
        except (ChangedError, NotFoundError):
            # An emulator of GCS may speak JSON only, and has nothing at obstore's addresses.
            if not self._is_still_there(remote):
                self._refuse_placeholder(remote)
                raise
            self._switch("obstore does not find what is there")
            return self.fallback().read(remote, start, end)

    def _is_still_there(self, remote: RemoteObject) -> bool:
        """Whether the fsspec source finds the object as it was planned."""
        try:
            return self.fallback().stat(remote.key).identity == remote.identity
        except KaiwoError:
            return False

    def _refuse_placeholder(self, remote: RemoteObject) -> None:
        """Tell what was listed as ``a`` and is ``a/``: a placeholder that is not empty."""
        folder = f"{remote.key}/"
        try:
            found = self.fallback().stat(folder)
        except KaiwoError:
            return
        if found.identity == remote.identity:
            raise PlaceholderError(f"{self.display_url(folder)}: a folder's placeholder, left out")

    async def _read(self, remote: RemoteObject, options: Any) -> Buffer:
        answer = await obstore.get_async(self._store, remote.key, options=options)
        self._check(answer, remote)
        return memoryview(await answer.bytes_async())

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        if self._switched or _unnameable(remote.key):
            yield from self.fallback().stream(remote)
            return
        try:
            with self.translating("reading", remote.key):
                answer = obstore.get(self._store, remote.key, options=self._options(remote))
                self._check(answer, remote)
        except RetryAfterHiddenError as busy:
            self._how_long(lambda: self.fallback().stat(remote.key), busy.otherwise)
            yield from self.fallback().stream(remote)
            return
        except NotForObstoreError:
            yield from self.fallback().stream(remote)
            return
        chunks = iter(answer.stream(STREAM_CHUNK))
        yield from self.read_chunks(lambda: next(chunks, b""), remote)

    def _options(self, remote: RemoteObject, *limits: int) -> Any:
        """What binds a request to the planned identity, and to its range."""
        options: dict[str, Any] = {}
        if self._pin == "version" and remote.version is not None:
            options["version"] = remote.version
        elif self._pin == "etag" and remote.etag is not None:
            options["if_match"] = f'"{remote.etag}"'
        if limits:
            options["range"] = limits
        return options

    def _check(self, answer: Any, remote: RemoteObject) -> None:
        """Refuse an answer of another object before its body is read."""
        meta = answer.meta
        if meta["size"] != remote.size:
            raise ChangedError(
                f"{self.display_url(remote.key)}: {remote.size} bytes were listed, the object has "
                f"{meta['size']} now"
            )
        if self._pin == "etag":
            check_identity(plain_etag(meta["e_tag"]), remote.etag, self.display_url(remote.key))
        else:
            check_identity(meta["version"], remote.version, self.display_url(remote.key))

    def fallback(self) -> Source:
        """The fsspec source of the same bucket, opened when it is first needed."""
        with self._lock:
            if self._sure is None:
                self._sure = self._fallback()
            return self._sure

    def _running(self) -> Loop:
        """The loop of the asynchronous calls."""
        with self._lock:
            if self._loop is None:
                from kaiwo.sources.obstore.event_loop import Loop  # noqa: PLC0415 - asyncio takes long to load

                self._loop = Loop("kaiwo-obstore")
            return self._loop

    def classify(self, error: Exception) -> KaiwoError:
        """See ``protocols.Source``."""
        if self._sure is not None and not isinstance(error, BaseError | FileNotFoundError):
            return self._sure.classify(error)
        return super().classify(error)

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if not isinstance(error, BaseError | FileNotFoundError):
            return None
        failed = getattr(self._store.credential_provider, "error", None)
        if failed is not None:
            return failed if isinstance(failed, KaiwoError) else self.fallback().classify(failed)
        if isinstance(error, InvalidPathError):
            raise NotForObstoreError("obstore cannot name some of the keys") from error
        text = str(error)
        told = error_of(text, what, by_version=self._pin == "version")
        match reason := fallback_reason(text):
            case None:
                return told
            case FallbackReason.PATIENCE if isinstance(told, TransientError):
                raise RetryAfterHiddenError(told)
            case FallbackReason.RANGES:
                self._give_up_ranges()
            case FallbackReason.CONNECTION | FallbackReason.LANGUAGE:
                self._switch(reason.value)
            case FallbackReason.ANSWER | FallbackReason.PATIENCE:
                pass
        raise NotForObstoreError(reason.value)

    def _how_long(self, ask: Callable[[], T], otherwise: TransientError) -> T:
        """The same from the fsspec source, whose errors say how long to wait.

        One asks, and those who were refused meanwhile learn it from that one.

        Raises:
            TransientError: ``otherwise``, with the seconds that are left of what was said.
        """
        with self._asking:
            now_s = time.monotonic()
            if now_s < self._quiet_until_s:
                left_s = self._quiet_until_s - now_s if self._is_told else None
                raise type(otherwise)(otherwise.message, left_s)
            self._quiet_until_s, self._is_told = now_s + ASKS_EVERY_S, False
            try:
                return ask()
            except TransientError as told:
                if told.retry_after_s is not None:
                    self._quiet_until_s = time.monotonic() + told.retry_after_s
                    self._is_told = True
                raise

    def _give_up_ranges(self) -> None:
        if self._ranges:
            self._ranges = False
            logger.info("%s: ranges are read through fsspec: the service answers oddly", self._url)

    def _switch(self, reason: str) -> None:
        if not self._switched:
            self._switched = True
            logger.info("%s is read through fsspec: %s", self._url, reason)


def _unnameable(key: str) -> bool:
    """Whether obstore would refuse the key, or read another one in its place."""
    return bool(key) and _UNNAMEABLE.search(key) is not None


def _described(meta: Any) -> RemoteObject:
    return listed(meta["path"], meta["size"], meta["e_tag"])
