"""Reads files of a repository: ranges by the address behind the redirect, and whole files.

The first range of a file asks the resolve address. The others ask the address that it was
redirected to, see ``addresses``. Every answer on the way must belong to the planned file.
"""

from __future__ import annotations

import contextlib
import itertools
import posixpath
from collections.abc import Generator, Iterator
from concurrent.futures import Future

from kaiwo.errors import StandInError
from kaiwo.net.answers import Answer
from kaiwo.net.pages import is_page, may_be_page
from kaiwo.net.statuses import RefusedError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.answers import check_answer, check_identity, plain_etag
from kaiwo.sources.hub.addresses import Addresses
from kaiwo.sources.hub.blobs import check_commit, of_id
from kaiwo.sources.hub.endpoint import Endpoint
from kaiwo.sources.hub.repository import Repository
from kaiwo.sources.pieces import cut

#: A signed address that has expired is refused with one of these.
_EXPIRED = {400, 401, 403, 404, 410}
#: A range tries at most this many addresses, one after the other.
_MOST_ADDRESSES = 3
#: An answer that is the right one, and the first bytes of its body if they were read.
_Begun = tuple[Answer, bytes]


class FileReader:
    """Reads the files of one repository. Called from many threads at once.

    Args:
        endpoint: sends the requests.
        repository: that the files belong to.
    """

    def __init__(self, endpoint: Endpoint, repository: Repository) -> None:
        self._endpoint = endpoint
        self._repository = repository
        self._addresses = Addresses()

    def read(self, remote: RemoteObject, start: int, end: int, named: str) -> Buffer:
        """The bytes of a range.

        Args:
            remote: the file.
            start: the first byte.
            end: the byte after the last one.
            named: the file, for messages.

        Raises:
            RefusedError: an answer with an error status.
            ChangedError: the file is not the planned one.
        """
        with self._request(remote, start, end, named) as (answer, first):
            data = answer.take(max(end - start - len(first), 0))
            return first + data if first else data

    def stream(
        self, remote: RemoteObject, start: int, end: int, piece: int, named: str
    ) -> Generator[Buffer, None, None]:
        """The pieces of a range as they arrive; see ``read``."""
        with self._request(remote, start, end, named) as (answer, first):
            coming = answer.chunks(piece, end - start - len(first))
            yield from cut(itertools.chain([first] if first else [], coming), piece)

    @contextlib.contextmanager
    def _request(self, remote: RemoteObject, start: int, end: int, named: str) -> Iterator[_Begun]:
        """The answer to a request for a range, which is the right one; its body is not read yet."""
        with contextlib.ExitStack() as stack:
            if (start, end) == (0, remote.size):
                address = self._resolve_address(remote)
                yield stack.enter_context(self._request_at(address, remote, start, end, named))
            else:
                yield self._request_range(stack, remote, start, end, named)

    def _request_range(
        self,
        stack: contextlib.ExitStack,
        remote: RemoteObject,
        start: int,
        end: int,
        named: str,
    ) -> _Begun:
        """The answer from the address behind the redirect; a new one if that has expired."""
        expired, left = None, _MOST_ADDRESSES
        while True:
            pending, is_mine = self._addresses.look_up(remote.key, expired)
            try:
                if is_mine:
                    asked = self._find_address(remote, start, end, named, pending)
                else:
                    asked = self._request_at(pending.result(), remote, start, end, named)
                return stack.enter_context(asked)
            except RefusedError as refused:
                left -= 1
                if not left or not self._has_expired(refused):
                    raise
                expired = pending.result()

    def _resolve_address(self, remote: RemoteObject) -> str:
        return self._repository.resolve_address(remote.key, remote.version or "")

    def _has_expired(self, refused: RefusedError) -> bool:
        """Whether the refused address may be a signed one that has expired."""
        return refused.status in _EXPIRED and not self._endpoint.owns(refused.address)

    @contextlib.contextmanager
    def _find_address(
        self, remote: RemoteObject, start: int, end: int, named: str, pending: Future[str]
    ) -> Iterator[_Begun]:
        """The answer by way of the resolve address; the other ranges wait for the redirect."""
        address = self._resolve_address(remote)
        try:
            with self._request_at(address, remote, start, end, named, pending) as begun:
                yield begun
        except BaseException as error:
            if not pending.done():
                self._addresses.fail(remote.key, pending, error)
            raise

    @contextlib.contextmanager
    def _request_at(
        self,
        address: str,
        remote: RemoteObject,
        start: int,
        end: int,
        named: str,
        pending: Future[str] | None = None,
    ) -> Iterator[_Begun]:
        """The answer from an address; ``pending`` gets the address behind the redirect."""

        def check(answer: Answer) -> None:
            _check_planned(remote, answer, named)
            target = answer.redirect_target
            if pending is not None and target is not None and not self._endpoint.owns(target):
                self._addresses.publish(remote.key, pending, target)

        is_whole = (start, end) == (0, remote.size)
        headers = {} if is_whole else {"Range": f"bytes={start}-{end - 1}"}
        with self._endpoint.request("GET", address, headers, check=check) as answer:
            content_range = answer.header("Content-Range")
            check_answer(answer.status, content_range, start, end, remote.size, named)
            if is_whole and content_range is None:
                check_identity(answer.plain_length, str(remote.size), named)
            first = _refuse_page(remote, answer, named) if start == 0 else b""
            if pending is not None:
                self._addresses.publish(remote.key, pending, answer.address)
            yield answer, first


def _refuse_page(remote: RemoteObject, answer: Answer, named: str) -> bytes:
    """Refuse a page in place of a file; the bytes of the body that were read for that.

    Raises:
        StandInError: it is a page, no digest of the file is known, and its name is not of a page.
    """
    if remote.checksum is not None or may_be_page([posixpath.basename(remote.key)]):
        return b""
    found, first = is_page(answer)
    if found:
        raise StandInError(
            f"{named}: a page of HTML came, not the file; the mirror may ask to sign in: open its "
            "address in a browser, and check the endpoint and the token"
        )
    return first


def _check_planned(remote: RemoteObject, answer: Answer, named: str) -> None:
    """Refuse an answer that names another commit or another file.

    Raises:
        ChangedError: most likely, a mirror has something else there.
    """
    check_commit(answer.header("X-Repo-Commit"), remote.version, named)
    stated = of_id(plain_etag(answer.header("X-Linked-Etag")))
    planned = remote.checksum
    if stated is not None and stated.algorithm == "sha256" and planned is not None:
        # Of any other length, it is of an unknown kind: proxies state the sha1 of the file there.
        digest = stated if planned.algorithm == "sha256" else None
        if check_identity(digest, planned, named):
            return  # some mirrors state the size of the pointer beside it
    size = answer.header("X-Linked-Size")
    check_identity(size if size and size.isdecimal() else None, str(remote.size), named)
