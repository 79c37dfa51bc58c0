"""All objects below a prefix by obstore, without the placeholders that it disguises.

obstore lists ``a/`` as ``a``. Placeholders are found like this:

- A listing of the whole bucket is accompanied by one with a delimiter: it shows whether keys begin
  with a slash. After a failure the two come one after the other: some services serve one request
  of a client at a time.
- Empty objects are looked up, and objects that are followed by keys below them; at most 100. With
  more, the fsspec source lists. What the answers mean: ``workers/doubts.py``.
- obstore cannot ask for a key that ends in a slash, so the fsspec source asks for ``a/``.
- A placeholder that holds bytes is noticed when ``a`` is read and not found. It is left out of
  the report, as all placeholders are.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import obstore

from kaiwo.errors import KaiwoError, NotAcceptedError, NotFoundError, TransientError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Listed
from kaiwo.sources.obstore.fallback import Fallback, RetryAfterHiddenError
from kaiwo.sources.obstore.listing import ListingAttempt
from kaiwo.sources.paging import Page
from kaiwo.sources.s3_head import parse_entry
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.workers.doubts import Questions
from kaiwo.workers.threads import WorkerThreads

if TYPE_CHECKING:
    from kaiwo.sources.obstore.source import ObstoreSource

#: At most this many objects that may be placeholders are looked up.
MOST_DOUBTFUL = 100
logger = logging.getLogger(__name__)


class NothingFoundError(NotForObstoreError):
    """A listing is empty, most often because nothing is there: no news for anybody."""


class Lister:
    """Lists one store, with the hooks of its source.

    Args:
        source: maps errors, continues listings, and looks objects up.
        store: of obstore.
        fallback: says how long a busy service wants to wait.
    """

    def __init__(self, source: ObstoreSource, store: Any, fallback: Fallback) -> None:
        self._source = source
        self._store = store
        self._fallback = fallback
        self._questions = Questions()
        self._is_one_by_one = False

    def list_objects(self, prefix: str, asks: Callable[[RemoteObject], bool]) -> Listed:
        """All objects below a prefix, and what was answered about them.

        Args:
            prefix: empty, or ending in a slash.
            asks: see ``protocols.Source.list_asking``.

        Raises:
            NotForObstoreError: the listing may be wrong.
        """
        found = self._list_all(prefix) if prefix else self._list_bucket()
        if not found:
            # An answer that is no listing looks empty.
            raise NothingFoundError("nothing was found")
        if len({remote.key for remote in found}) < len(found):
            raise NotForObstoreError("some keys are listed twice")
        doubtful = [remote for remote in _find_doubtful(found) if asks(remote)]
        if len(doubtful) > MOST_DOUBTFUL:
            raise NotForObstoreError("many objects are empty, or may be placeholders of folders")
        return found, self._questions.ask(doubtful, found, self._look_up, self._look_up_folder)

    def _list_bucket(self) -> Sequence[RemoteObject]:
        """All objects of the bucket; a second request shows whether keys begin with a slash."""
        try:
            found, folders = self._list_with_folders()
        except TransientError:
            self._is_one_by_one = True
            raise
        if "" in folders:
            raise NotForObstoreError("keys begin with a slash")
        return found

    def _list_with_folders(self) -> tuple[Sequence[RemoteObject], Sequence[str]]:
        """All objects of the bucket, and its folders."""
        ask: Callable[[], Any] = partial(obstore.list_with_delimiter, self._store)
        if not self._is_one_by_one:
            beside = WorkerThreads(1, "kaiwo-root")
            ask = beside.submit(ask).result
            beside.shutdown(wait=False)
        found = self._list_all("")
        with self._source.diverting("listing", ""):
            return found, ask()["common_prefixes"]

    def _list_all(self, prefix: str) -> Sequence[RemoteObject]:
        return self._source.list_pages(prefix, partial(self._pages, prefix))

    def _pages(self, prefix: str, token: str) -> Iterator[Page]:
        """The pages from a token on; see ``ListingAttempt``."""
        attempt = ListingAttempt(partial(self._list_after, prefix), token)
        try:
            yield from attempt.pages()
        except RetryAfterHiddenError as busy:
            if not attempt.last:
                raise
            # The fsspec source would list from the start, but looking up one key tells as much.
            with contextlib.suppress(NotFoundError):
                ask = partial(self._fallback.source().stat, attempt.last)
                self._fallback.ask_how_long(ask, busy.error)
            raise busy.error from None
        except KaiwoError as error:
            if not attempt.last and isinstance(error, NotAcceptedError):
                # Perhaps only the second version of S3's listings, which obstore requests.
                raise NotForObstoreError("the service refuses obstore's listing") from None
            if not attempt.last or isinstance(error, TransientError):
                raise
            # Some services read a key in a query differently, and so the signature.
            raise NotForObstoreError("the service does not list what follows a key") from None

    def _list_after(self, prefix: str, key: str, size: int) -> Iterator[list[RemoteObject]]:
        """List what follows a key, or everything; until the service says that this is the end."""
        with self._source.diverting("listing", prefix):
            for page in obstore.list(self._store, prefix, offset=key or None, chunk_size=size):
                yield [
                    parse_entry(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])
                    for meta in page
                ]

    def _look_up(self, key: str) -> RemoteObject:
        """See ``doubts.LookUp``."""
        try:
            return self._source.stat(key)
        except NotFoundError:
            raise
        except KaiwoError as refused:
            logger.debug("%s", refused.message)
            return self._fallback.source().stat(key)

    def _look_up_folder(self, key: str) -> RemoteObject:
        """The same for a key that ends in a slash."""
        return self._fallback.source().stat(key)


def _find_doubtful(found: Sequence[RemoteObject]) -> list[RemoteObject]:
    """The objects that may be placeholders: ``a/`` is listed as ``a``."""
    doubtful = [remote for remote in found if remote.size == 0]
    # It comes right before the keys below it.
    doubtful += [
        remote
        for remote, after in pairwise(found)
        if remote.size and after.key.startswith(f"{remote.key}/")
    ]
    return doubtful
