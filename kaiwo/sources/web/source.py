"""Files of web servers, over http and https.

``cat_file`` of fsspec's http filesystem accepts any body that is as long as the range, and its
``info`` hides headers and the reason of a failure. So kaiwo sends the requests by its own client,
once each, and checks the answers like a store's: range, length and identity. Only the names of the
options are those of that filesystem, see ``options``.

    identity     ETag, else Last-Modified; and the query, as a digest, without the parameters that
                 sign the address (they change while the file stays the same)
    checksum     Content-MD5, Repr-Digest, Digest, X-Goog-Hash: few servers state one
    encoding     identity is requested; an encoded body is stored as it arrives if it has the
                 stated size, else decoded: see ``kaiwo/net/encodings.py``
    condition    no ``If-Match``: servers with weak ETags refuse it always
    length       where none is stated, the file comes in one stream to its end (``unsized``)
    folders      pages of links, see ``links``

- fsspec finds links by a pattern, in text too, and goes from page to page without the slash.
  kaiwo uses Python's own HTML parser; a page that is cut is an error.

See docs/decisions/0032.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator, Mapping
from functools import partial
from urllib.parse import urlsplit

from kaiwo import redact
from kaiwo.errors import KaiwoError, ServiceError, StandInError
from kaiwo.net.answers import Answer
from kaiwo.net.client import CONNECTION_ERRORS
from kaiwo.net.failures import wire_error
from kaiwo.net.headers import media_type
from kaiwo.net.pages import PAGE_TYPES, is_encoded_file, is_page, may_be_page
from kaiwo.net.redirects import RedirectError
from kaiwo.net.statuses import RefusedError
from kaiwo.objects import RemoteObject, is_identified
from kaiwo.protocols import PIECE, Buffer
from kaiwo.sources.answers import check_etag_or_date, http_date_ns, strong_etag
from kaiwo.sources.base import StoreSource, wrong_length
from kaiwo.sources.paging import Page
from kaiwo.sources.pieces import cut
from kaiwo.sources.web.client import WebClient
from kaiwo.sources.web.errors import FolderError, map_refusal
from kaiwo.sources.web.headers import (
    ENCODED,
    NO_END,
    has_end,
    query_digest,
    stated_checksum,
    stated_size,
)
from kaiwo.sources.web.lengths import Lengths, states_length
from kaiwo.sources.web.look_up import fetch_headers
from kaiwo.sources.web.options import WebOptions

#: An ETag of at least this length differs between the files of a server, with any query.
LONG_ETAG = 12


class WebSource(StoreSource):
    """The files below one address.

    Args:
        root: the address that keys are relative to; it may hold user info.
        url: the same for messages.
        options: of the user.
        target_name: that the user gives the only file; empty if files keep their names.
        allow_partial: a folder may have links that cannot be followed.
    """

    def __init__(
        self,
        root: str,
        url: str,
        options: WebOptions,
        target_name: str = "",
        *,
        allow_partial: bool = False,
    ) -> None:
        super().__init__(url)
        self._root = root.rstrip("/")
        self._target_name = target_name
        self._lengths = Lengths()
        #: Pages whose names have no extension: some servers show a folder so, too.
        self._bare_pages: set[str] = set()
        self._allow_partial = allow_partial
        self._client = WebClient(root, url, options)
        if options.without_effect:
            names = ", ".join(options.without_effect)
            self._client.warn_once(f"is read without these options, which change nothing: {names}")

    def close(self) -> None:
        """See ``protocols.Source``."""
        self._client.close()

    def display_url(self, key: str) -> str:
        """See ``StoreSource``."""
        return redact.url(self._url + key)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self.list_pages(prefix, partial(self._pages, prefix)))

    def _pages(self, prefix: str, last: str) -> Iterator[Page]:
        """The files that pages of links lead to, some at a time; the token is the last key."""
        from kaiwo.sources.web.listing import WebListing  # noqa: PLC0415 - with folders only

        with self.translating("listing", prefix):
            listing = WebListing(
                self._client, self._path, self.display_url, self._stat_listed, self._allow_partial
            )
            yield from listing.pages(prefix, last)

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self._stat(key, believes_head=self._lengths.believes_head(key))

    def _stat_listed(self, key: str) -> tuple[RemoteObject, bool]:
        """A file of a folder, and whether it may be a folder itself."""
        return self.stat(key), key in self._bare_pages

    def stat_by_reading(self, key: str) -> RemoteObject:
        """See ``protocols.Source``: by a GET, whose word about the length outranks a HEAD's."""
        found = self._stat(key, believes_head=False)
        if not is_identified(found):
            return self.stat(key)  # an error with status 200 states nothing either
        self._lengths.disbelieve(key)
        return found

    def _stat(self, key: str, *, believes_head: bool) -> RemoteObject:
        with self.translating("looking up", key):
            send = partial(self._request_file, key)
            headers = fetch_headers(send, believes_head=believes_head)
        size = stated_size(headers)
        kind = media_type(headers.get("Content-Type"))
        decodes = size is None and not is_encoded_file(self._names(key), kind)
        etag = strong_etag(headers.get("ETag"))
        return RemoteObject(
            key,
            size or 0,
            etag,
            None,
            stated_checksum(headers, decodes=decodes),
            modified_ns=http_date_ns(headers.get("Last-Modified")),
            variant=None if etag and len(etag) >= LONG_ETAG else query_digest(key),
            unsized=size is None,
            unpinned=True,
        )

    @contextlib.contextmanager
    def _request_file(self, key: str, method: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """The answer for a file; there may be no first byte of it.

        Raises:
            FolderError: the address is the page of a folder.
        """
        with self._client.request(method, self._path(key), headers, accepts={416}) as answer:
            self._refuse_folder(key, answer)
            yield answer

    def _refuse_folder(self, key: str, answer: Answer) -> None:
        is_page, name = answer.content_type in PAGE_TYPES, urlsplit(key).path.rpartition("/")[2]
        if is_page and name and "." not in name:
            self._bare_pages.add(key)
        is_folder = is_page and urlsplit(answer.address).path.endswith("/")
        if is_folder and name:
            raise FolderError(f"{self.display_url(key)}: a folder, not a file; end it with '/'")

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self._reading(remote, start, end) as (answer, first):
            if not states_length(answer):
                return b"".join(self._whole(remote, answer, first, PIECE))
            data = answer.take(max(end - start - len(first), 0))
            if len(first) > end - start:
                what = self.describe("reading", remote.key)
                raise wrong_length(what, len(first), end - start)
            return first + data if first else data

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        end = remote.size if end is None else end
        with self._reading(remote, start, end) as (answer, first):
            pieces = (
                cut(itertools.chain([first], answer.chunks(piece, end - start - len(first))), piece)
                if states_length(answer)
                else self._whole(remote, answer, first, piece)
            )
            yield from self.read_pieces(pieces, remote, end - start)

    def _whole(
        self, remote: RemoteObject, answer: Answer, first: bytes, piece: int
    ) -> Generator[memoryview, None, None]:
        """The pieces of a whole file from an answer that does not state their number."""
        planned = None if remote.unsized else remote.size - len(first)
        decodes = not self._is_encoded_file(remote.key, answer)
        coming = itertools.chain([first], answer.chunks(piece, planned, decodes=decodes))
        yield from self._lengths.watched(
            cut(coming, piece),
            answer,
            remote,
            self.describe("reading", remote.key),
            is_decoded=answer.is_decoded(planned, decodes=decodes),
        )

    @contextlib.contextmanager
    def _reading(
        self, remote: RemoteObject, start: int, end: int
    ) -> Iterator[tuple[Answer, bytes]]:
        """The answer to a request for a range, and the first bytes of its body if they were read.

        An answer of another file or another range is refused before its body is read.
        """
        is_whole = (start, end) == (0, remote.size)
        headers = {} if is_whole else {"Range": f"bytes={start}-{end - 1}"}
        with (
            self.translating("reading", remote.key),
            self._client.request("GET", self._path(remote.key), headers) as answer,
        ):
            first = self._refuse_page(answer, remote.key) if start == 0 else b""
            self._check(answer, remote, start, end)
            if answer.encodings and not self._is_encoded_file(remote.key, answer):
                self._client.warn_once(ENCODED)
            yield answer, first

    def _refuse_page(self, answer: Answer, key: str) -> bytes:
        """Refuse a page in place of a file; the bytes of the body that were read for that.

        Raises:
            StandInError: it is a page.
        """
        if may_be_page(self._names(key)):
            return b""
        found, first = is_page(answer)
        if found:
            raise StandInError(
                f"{self.display_url(key)}: a page of HTML came, not the file; the server may ask "
                "to sign in: open the address in a browser, and check the address and the "
                "credentials in options (such as headers); if the page is what you want, give "
                "target_path a name that ends in .html"
            )
        return first

    def _names(self, key: str) -> tuple[str, str]:
        """The names of a file: in its address, and that of its target."""
        return urlsplit(key).path.rpartition("/")[2], self._target_name

    def _is_encoded_file(self, key: str, answer: Answer) -> bool:
        return is_encoded_file(self._names(key), answer.content_type)

    def _check(self, answer: Answer, remote: RemoteObject, start: int, end: int) -> None:
        """Refuse an answer of another file or another range, before its body is read."""
        named, headers = self.display_url(remote.key), answer.headers
        modified_ns = http_date_ns(headers.get("Last-Modified"))
        if remote.unsized:
            if not has_end(answer.status, headers, named):
                self._client.warn_once(NO_END)
            check_etag_or_date(headers.get("ETag"), modified_ns, remote, named)
            return
        self._lengths.check(answer, remote, start, end, named)
        check_etag_or_date(headers.get("ETag"), modified_ns, remote, named)

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, RefusedError):
            return map_refusal(error, what)
        if isinstance(error, RedirectError):
            return ServiceError(f"{what}: {error}")
        return wire_error(error, what) if isinstance(error, CONNECTION_ERRORS) else None
