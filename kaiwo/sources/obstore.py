"""The fast engine: any store of obstore, with the task's fsspec source behind it.

obstore (Rust) moves bytes at a fraction of the cost of the SDKs, but knows less than they do. What
it cannot do is asked of the fsspec source, which is opened when it is first needed:

    list      where obstore's listing lacks what identity and verification need (GCS, Azure), and
              where it cannot be trusted: it fails on keys such as ``a//b``, and strips the slash
              from ``/a`` and ``a/`` in silence
    inspect   it shows no headers, so no checksums
    read      keys that it cannot name; ranges of servers that answer them oddly; and everything,
              once it has met a certificate, a redirect or a setting that it cannot handle

Small objects are read by its synchronous call, ranges by the asynchronous one on a loop of our
own: the former costs less for each request, the latter for each byte. Every request is pinned to
the planned identity, and what comes back is checked again.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import obstore
from obstore.exceptions import BaseError, InvalidPathError

from kaiwo.errors import ChangedError, KaiwoError, NotFoundError, TransientError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Source
from kaiwo.sources.base import (
    STREAM_CHUNK,
    NotForObstoreError,
    StoreSource,
    check_identity,
    plain_etag,
)
from kaiwo.sources.obstore_errors import Beyond, beyond, error_of
from kaiwo.sources.s3_head import listed

if TYPE_CHECKING:
    from kaiwo.sources.loop import Loop

#: From this size on, a read is asynchronous; below, the request costs more than its bytes.
LARGE = 1 << 20
#: From so many objects on, a listing has several pages.
PAGE = 1000
#: Listed objects may be placeholders of folders, above all those without bytes; so many of them
#: are looked at.
MOST_DOUBTFUL = 100
_UNNAMEABLE = re.compile(r"(^|/)(\.{0,2})(/|$)|[\x00-\x1f\x7f]")
logger = logging.getLogger(__name__)


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

    def close(self) -> None:
        """See ``protocols.Source``."""
        if self._loop is not None:
            self._loop.close()
        if self._sure is not None:
            self._sure.close()

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        if not self._lists or self._switched or _unnameable(prefix.removesuffix("/")):
            return self.sure().list(prefix)
        try:
            return iter(self._listed(prefix))
        except NotForObstoreError as reason:
            logger.info("%s%s is listed through fsspec: %s", self._url, prefix, reason)
            return self.sure().list(prefix)

    def _listed(self, prefix: str) -> Sequence[RemoteObject]:
        """All objects below a prefix; NotForObstoreError where the listing may be wrong."""
        found = self._found(prefix) if prefix else self._whole_bucket()
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
        with self._doing("listing", ""):
            folders = top.result()["common_prefixes"]
        if "" in folders:
            raise NotForObstoreError("keys begin with a slash")
        return found

    def _found(self, prefix: str) -> Sequence[RemoteObject]:
        """What obstore lists below a prefix, to the end."""
        with self._doing("listing", prefix):
            pages = obstore.list(self._store, prefix)
            found = [
                listed(meta["path"], meta["size"], meta["e_tag"]) for page in pages for meta in page
            ]
        if not found:
            # An answer that is no listing looks empty.
            raise NotForObstoreError("nothing was found")
        if len(found) >= PAGE:
            self._require_end(prefix, found)
        return found

    def _require_end(self, prefix: str, found: Sequence[RemoteObject]) -> None:
        """Ask for what follows: an answer that is no listing looks like the last page, too."""
        with self._doing("listing", prefix):
            after = obstore.list(self._store, prefix, offset=found[-1].key)
            more = {meta["path"] for page in after for meta in page}
        # The last key may be `a/`, which is told as `a`: keys between these two come once more.
        if not more <= {remote.key for remote in found}:
            raise TransientError(f"listing {self._url}{prefix}: it ended before its end")

    def _is_there(self, remote: RemoteObject) -> bool:
        """Whether an object has this key; ``a/`` is listed as ``a``."""
        try:
            return self.stat(remote.key).identity == remote.identity
        except NotFoundError:
            return False

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        if not self._lists or self._switched or _unnameable(key):
            return self.sure().stat(key)
        try:
            with self._doing("looking up", key):
                return _described(obstore.head(self._store, key))
        except NotForObstoreError:
            return self.sure().stat(key)

    def inspect(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        if self._look is not None and not self._switched:
            try:
                return self._look(key)
            except Exception as error:
                # What it is, the fsspec source will tell, or get over.
                logger.debug("%s: %s, asking through fsspec", self._named(key), type(error))
        return self.sure().inspect(key)

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        whole = (start, end) == (0, remote.size)
        if self._switched or _unnameable(remote.key) or not (self._ranges or whole):
            return self.sure().read(remote, start, end)
        options = self._options(remote) if whole else self._options(remote, start, end)
        try:
            with self._doing("reading", remote.key):
                if end - start < LARGE:
                    answer = obstore.get(self._store, remote.key, options=options)
                    self._check(answer, remote)
                    return memoryview(answer.bytes())
                return self._running().result(self._read(remote, options))
        except NotForObstoreError:
            return self.sure().read(remote, start, end)
        except (ChangedError, NotFoundError):
            # An emulator of GCS may speak JSON only, and has nothing at obstore's addresses.
            if not self._is_still_there(remote):
                raise
            self._switch("obstore does not find what is there")
            return self.sure().read(remote, start, end)

    def _is_still_there(self, remote: RemoteObject) -> bool:
        """Whether the fsspec source finds the object as it was planned."""
        try:
            return self.sure().stat(remote.key).identity == remote.identity
        except KaiwoError:
            return False

    async def _read(self, remote: RemoteObject, options: Any) -> Buffer:
        answer = await obstore.get_async(self._store, remote.key, options=options)
        self._check(answer, remote)
        return memoryview(await answer.bytes_async())

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        if self._switched or _unnameable(remote.key):
            yield from self.sure().stream(remote)
            return
        try:
            with self._doing("reading", remote.key):
                answer = obstore.get(self._store, remote.key, options=self._options(remote))
                self._check(answer, remote)
        except NotForObstoreError:
            yield from self.sure().stream(remote)
            return
        chunks = iter(answer.stream(STREAM_CHUNK))
        yield from self._drained(lambda: next(chunks, b""), remote)

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
                f"{self._named(remote.key)}: {remote.size} bytes were listed, the object has "
                f"{meta['size']} now"
            )
        if self._pin == "etag":
            check_identity(plain_etag(meta["e_tag"]), remote.etag, self._named(remote.key))
        else:
            check_identity(meta["version"], remote.version, self._named(remote.key))

    def sure(self) -> Source:
        """The fsspec source of the same bucket, opened when it is first needed."""
        with self._lock:
            if self._sure is None:
                self._sure = self._fallback()
            return self._sure

    def _running(self) -> Loop:
        """The loop of the asynchronous calls."""
        with self._lock:
            if self._loop is None:
                from kaiwo.sources.loop import Loop  # noqa: PLC0415 - asyncio takes long to load

                self._loop = Loop("kaiwo-obstore")
            return self._loop

    def classify(self, error: Exception) -> KaiwoError:
        """See ``protocols.Source``."""
        if self._sure is not None and not isinstance(error, BaseError | FileNotFoundError):
            return self._sure.classify(error)
        return super().classify(error)

    def _known(self, error: Exception, what: str) -> KaiwoError | None:
        if not isinstance(error, BaseError | FileNotFoundError):
            return None
        failed = getattr(self._store.credential_provider, "error", None)
        if failed is not None:
            return failed if isinstance(failed, KaiwoError) else self.sure().classify(failed)
        if isinstance(error, InvalidPathError):
            raise NotForObstoreError("obstore cannot name some of the keys") from error
        text = str(error)
        if self._is_beyond(text):
            raise NotForObstoreError from error
        return error_of(text, what, by_version=self._pin == "version")

    def _is_beyond(self, text: str) -> bool:
        """Whether the fsspec source may succeed where obstore ended so; for good, perhaps."""
        match beyond(text):
            case None:
                return False
            case Beyond.RANGES:
                self._give_up_ranges()
            case Beyond.CONNECTION | Beyond.LANGUAGE as reason:
                self._switch(reason.value)
            case Beyond.ANSWER:
                pass
        return True

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
