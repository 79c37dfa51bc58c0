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

obstore's errors are text; it is taken apart here and never passed on, since it quotes addresses
and whatever the server said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import obstore
from obstore.exceptions import BaseError, InvalidPathError

from kaiwo.errors import (
    ChangedError,
    KaiwoError,
    NotFoundError,
    TransientError,
    UnreachableError,
    WrongRangeError,
)
from kaiwo.network import Network, status_error, too_many_files
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Source
from kaiwo.sources.base import (
    STREAM_CHUNK,
    NotForObstoreError,
    StoreSource,
    check_identity,
    plain_etag,
)
from kaiwo.sources.s3_head import listed

_T = TypeVar("_T")

#: From this size on, a read is asynchronous; below, the request costs more than its bytes.
LARGE = 1 << 20
#: From so many objects on, a listing has several pages.
PAGE = 1000
#: Listed objects may be placeholders of folders, above all those without bytes; so many of them
#: are looked at.
MOST_DOUBTFUL = 100
_UNNAMEABLE = re.compile(r"(^|/)(\.{0,2})(/|$)|[\x00-\x1f\x7f]")
#: In the description of an error that follows its text, where names are quoted and on one line.
_STATUS = re.compile(r"^\s*status: (\d{3}),$", re.MULTILINE)
_KIND = re.compile(r"^\s*kind: (\w+),$", re.MULTILINE)
_CODE = re.compile(r"<Code>(\w+)</Code>")
_NO_LISTING = re.compile(r"^\s*source: InvalidListResponse", re.MULTILINE)
_RANGES = re.compile(r"^    source: (NotPartial|NoContentRange|ParseContentRange)\b", re.MULTILINE)
_OTHER_RANGE = re.compile(r"^    source: UnexpectedRange", re.MULTILINE)
_HEADERS = re.compile(r"^\s*(source: )?Missing(ContentLength|LastModified|Etag)", re.MULTILINE)
_SETTINGS = re.compile(r"^\s*(inner: BareRedirect|kind: Builder),", re.MULTILINE)
#: Method not allowed, not implemented: an emulator of GCS that speaks JSON only.
_NOT_SPOKEN = re.compile(r"^\s*status: (405|501),$", re.MULTILINE)
_CERTIFICATE = re.compile(r"^\s*error: InvalidCertificate\(", re.MULTILINE)

#: Variables that obstore reads, and fails on, whatever it is told; Google's own clients do not.
_STRAY = tuple(
    f"{prefix}SERVICE_ACCOUNT{suffix}"
    for prefix in ("", "GOOGLE_")
    for suffix in ("", "_KEY", "_PATH")
)

logger = logging.getLogger(__name__)


class Provider:
    """Gives obstore its credentials, whatever the environment holds.

    An error on the way is kept: obstore passes on nothing but its text.

    Args:
        give: the credentials, in the form that the store takes, and with ``expires_at``.
    """

    def __init__(self, give: Callable[[], Mapping[str, Any]]) -> None:
        self._give = give
        self.error: Exception | None = None

    def __call__(self) -> Mapping[str, Any]:
        """Called by obstore when it has none, or when they expire."""
        try:
            given = self._give()
        except Exception as error:
            self.error = error
            raise
        self.error = None
        return given


def connect(
    kind: Callable[..., Any],
    container: str,
    config: Mapping[str, Any],
    provider: Provider | None,
    network: Network,
    ca_bundle: str | None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """A store of obstore that repeats nothing.

    Args:
        kind: class of the store.
        container: bucket or container.
        config: everything that obstore would otherwise take from the environment.
        provider: of credentials; None for anonymous requests.
        network: timeouts.
        ca_bundle: path of certificates to trust, or None for the system's.
        headers: of every request.

    Raises:
        NotForObstoreError: obstore does not take these settings.
    """
    options: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=network.connect_timeout_s),
        "read_timeout": timedelta(seconds=network.stall_timeout_s),
        # Of a whole request, however long its body is: only a stall is an error.
        "timeout": timedelta(days=7),
        "user_agent": "kaiwo",
        "default_headers": dict(headers or {}),
    }
    if ca_bundle is not None:
        try:
            options["root_certificate"] = Path(ca_bundle).read_bytes()
        except OSError as error:
            raise NotForObstoreError("the ca_bundle cannot be read") from error
    try:
        with _hidden(_STRAY):
            return kind(
                container,
                config={**config, "skip_signature": provider is None},
                # Without one, some stores look for credentials even if they are told to send none.
                credential_provider=provider or dict,
                client_options=options,
                retry_config={"max_retries": 0},
            )
    except (BaseError, ValueError) as error:
        raise NotForObstoreError("it does not take these settings") from error


@contextlib.contextmanager
def _hidden(names: Iterable[str]) -> Iterator[None]:
    """Take variables out of the environment for a moment."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._switched = False
        self._ranges = True

    def close(self) -> None:
        """See ``protocols.Source``."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(_end(self._loop), self._loop)
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
        # Asked meanwhile: whether keys begin with a slash, which the listing does not show.
        top = None if prefix else self._begun(self._top())
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
        if top is not None:
            with self._doing("listing", prefix):
                folders = top.result()["common_prefixes"]
            if "" in folders:
                raise NotForObstoreError("keys begin with a slash")
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

    async def _top(self) -> Any:
        """What lies at the root of the bucket."""
        return await obstore.list_with_delimiter_async(self._store, None)

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
                return self._begun(self._read(remote, options)).result()
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

    def _begun(self, call: Coroutine[Any, Any, _T]) -> Future[_T]:
        """What an asynchronous call is going to give; it is under way."""
        return asyncio.run_coroutine_threadsafe(call, self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        """The loop of the asynchronous calls, in a thread of its own."""
        with self._lock:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                name = "kaiwo-obstore"
                threading.Thread(target=_serve, args=(loop,), name=name, daemon=True).start()
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
        if _OTHER_RANGE.search(text):
            return WrongRangeError(f"{what}: another range came than was asked for")
        status = _STATUS.search(text)
        return (
            _wire_error(text, what)
            if status is None
            else self._answered(int(status[1]), text, what)
        )

    def _is_beyond(self, text: str) -> bool:
        """Whether the fsspec source may succeed where obstore ended so; for good, perhaps."""
        if _RANGES.search(text):
            self._give_up_ranges()
        elif _SETTINGS.search(text) or _CERTIFICATE.search(text):
            # OpenSSL takes certificates that rustls refuses, and the SDK finds a bucket's region.
            self._switch("obstore does not get through to the service")
        elif _NOT_SPOKEN.search(text):
            self._switch("the service does not speak obstore's language")
        elif not (_HEADERS.search(text) or _NO_LISTING.search(text)):
            return False
        return True

    def _answered(self, status: int, text: str, what: str) -> KaiwoError:
        """The error for an answer of the service."""
        code = _CODE.search(text)
        if status == 400 and not code and what.startswith("looking up"):  # noqa: PLR2004
            status = 403  # S3's answer to a HEAD: about the signature or the token
        found = status_error(status, what, code[1] if code else "")
        missing = isinstance(found, NotFoundError)
        if missing and self._pin == "version" and what.startswith("reading"):
            return ChangedError(f"{what}: the object was replaced or removed since it was listed")
        return found

    def _give_up_ranges(self) -> None:
        if self._ranges:
            self._ranges = False
            logger.info("%s: ranges are read through fsspec: the service answers oddly", self._url)

    def _switch(self, reason: str) -> None:
        if not self._switched:
            self._switched = True
            logger.info("%s is read through fsspec: %s", self._url, reason)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Stop the loop; a worker that still waits for a range must not wait for ever."""
    reading = asyncio.all_tasks() - {asyncio.current_task()}
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    loop.call_soon(loop.stop)


def _unnameable(key: str) -> bool:
    """Whether obstore would refuse the key, or read another one in its place."""
    return bool(key) and _UNNAMEABLE.search(key) is not None


def _described(meta: Any) -> RemoteObject:
    return listed(meta["path"], meta["size"], meta["e_tag"])


def _wire_error(text: str, what: str) -> KaiwoError:
    """The error for a request that got no whole answer."""
    if "Too many open files" in text:
        return too_many_files(what)
    kinds = _KIND.findall(text)
    if "Connect" in kinds:
        if '"dns error"' in text:
            return UnreachableError(f"{what}: the host name is unknown")
        if "ConnectionRefused" in kinds:
            return UnreachableError(f"{what}: connection refused (is the service up?)")
        return TransientError(f"{what}: no connection")
    if "Timeout" in kinds:
        return TransientError(f"{what}: no answer in time")
    return TransientError(f"{what}: the connection was cut")
