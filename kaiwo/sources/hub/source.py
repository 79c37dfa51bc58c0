"""The Hugging Face Hub, or a mirror of it: one repository at one commit.

The revision is resolved once, and the commit travels in each object's ``version``: whoever reads
it, in whatever process, asks for that commit. What the Hub states of a file is its checksum too:
the sha256 of LFS files, the git sha1 of the others; the library's cache names its blobs by the
same.

    the whole of a file   GET its resolve address; the bytes come, or a redirect to another host
    ranges of a file      the same for the first of them; where it ended up (a signed address, most
                          often), the others ask directly (``addresses``)

The library's functions are not used: they keep one client for the whole process, wait for ever, and
take 0.3 s to be loaded.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from huggingface_hub import constants

from kaiwo import redact
from kaiwo.errors import (
    ContainerMissingError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.net.failures import wire_error
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import GARBLED, garbled, status_error
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.answers import check_answer, check_identity, plain_etag
from kaiwo.sources.base import STREAM_CHUNK, StoreSource
from kaiwo.sources.hub.addresses import Addresses
from kaiwo.sources.hub.blobs import file_of
from kaiwo.sources.hub.connections import Answer
from kaiwo.sources.hub.endpoint import Endpoint, Refused
from kaiwo.sources.hub.xet import Xet, xet_error
from kaiwo.sources.paging import Page

logger = logging.getLogger(__name__)
#: The Hub's sentence when it refuses the token itself, not what the token asks for.
_BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 - a message
#: And when it has taken the repository away.
_DISABLED = "Access to this resource is disabled."
#: What the Hub's words for a refusal mean.
_CODES: dict[str, tuple[type[KaiwoError], str]] = {
    "GatedRepo": (
        CredentialsError,
        "{repository} is gated; ask for access at {page} and give a token that has it",
    ),
    "RepoNotFound": (
        ContainerMissingError,
        (
            "{repository} does not exist, or is private and needs a token with the right to read "
            "it (of a dataset or a space, repo_type has to say so)"
        ),
    ),
    "RevisionNotFound": (ContainerMissingError, "{repository} has no revision {revision}"),
    "EntryNotFound": (NotFoundError, "{repository} has no such file"),
    _DISABLED: (ContainerMissingError, "{repository} is disabled by the Hub"),
}
T = TypeVar("T")
#: A signed address that has expired is refused in one of these ways.
_EXPIRED = {400, 401, 403, 404, 410}
#: One after the other, that a range is tried with.
_MOST_ADDRESSES = 3
#: Method not allowed, not implemented.
_NOT_SPOKEN = {405, 501}
_NEXT = re.compile(r"<([^>]*)>[^,]*;\s*rel=\"?next\"?")


class HubSource(StoreSource):
    """The files of one repository.

    Args:
        repo_id: ``owner/repo``, or a canonical one-word name.
        repo_type: ``model``, ``dataset`` or ``space``.
        revision: branch, tag, commit or ``refs/pr/N``.
        token: None for what the library finds by itself (``HF_TOKEN``, its own login).
        endpoint: None for the library's (``HF_ENDPOINT``).
        url: ``hf://[datasets/]owner/repo@revision/``.
        network: timeouts.
        ca_bundle: path of the certificates to trust, or None for the system's.
        xet_above: files of more bytes come by Xet, where the Hub has them there; None: no file.
    """

    def __init__(
        self,
        repo_id: str,
        repo_type: str,
        revision: str,
        *,
        token: str | None,
        endpoint: str | None,
        url: str,
        network: NetworkSettings,
        ca_bundle: str | None,
        xet_above: int | None = None,
    ) -> None:
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        super().__init__(url, redact.url(self._endpoint))
        self._repo_id = repo_id
        self._repo_type = repo_type
        self._revision = revision
        self._api = f"{self._endpoint}/api/{repo_type}s/{repo_id}"
        kind = "" if repo_type == "model" else f"{repo_type}s/"
        #: Its page, and what its files are below of.
        self._home = f"{self._endpoint}/{kind}{repo_id}"
        self._commit: str | None = None
        #: It may be listed by all, but read by those who were granted it.
        self._gated = False
        self._resolving = threading.Lock()
        self._addresses = Addresses()
        self._requests = Endpoint(self._endpoint, token, network, ca_bundle)
        self._network = network
        self._xet_above = xet_above
        self._xet: Xet | None = None

    def close(self) -> None:
        """See ``protocols.Source``."""
        self._requests.close()
        if self._xet is not None:
            self._xet.close()

    def commit(self) -> str:
        """The commit that the revision was when it was first asked for."""
        # Many files may ask at once; a branch that moves in between must not give two commits.
        with self._resolving:
            if self._commit is None:
                self._commit = self._resolved()
                logger.info("%s is commit %s", self._url.rstrip("/"), self._commit)
                # From now on, this is what is asked for.
                self._url = f"{self._url.partition('@')[0]}@{self._commit}/"
        return self._commit

    def _resolved(self) -> str:
        if constants.is_offline_mode():
            raise ServiceError(f"{self._url}: HF_HUB_OFFLINE is set, the Hub is not asked")
        with self.translating("resolving", ""):
            told, _ = self._told(f"{self._api}/revision/{quote(self._revision, safe='')}", dict)
            self._gated = bool(told.get("gated"))
            return str(told["sha"])

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self.list_pages(prefix, partial(self._pages, prefix, self.commit())))

    def _pages(self, prefix: str, commit: str, place: str) -> Iterator[Page]:
        """The pages of a tree, from a query on that asks for one."""
        folder = f"/{quote(prefix.rstrip('/'))}" if prefix else ""
        address = f"{self._api}/tree/{commit}{folder}"
        query = place or "recursive=true&expand=false"
        is_granted = not self._gated
        while query:
            with self.translating("listing", prefix):
                entries, following = self._told(f"{address}?{query}", list)
                files = [entry for entry in entries if entry["type"] == "file"]
            if files and not is_granted:
                # Asked once, before each file is refused by itself; a model card may be free.
                self.stat(next((each for each in files if each.get("lfs")), files[0])["path"])
                is_granted = True
            # Of mirrors, some name the Hub itself there: the host is left as it is.
            query = urlsplit(following).query if following else ""
            yield list(map(self._listed, files)), query

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``: from what its own address answers to a HEAD.

        This is what the library asks, so every mirror knows it; if one tells too little there, the
        API is asked.
        """
        commit = self.commit()
        with self.translating("looking up", key):
            found = self._head(key, commit)
            if found is not None:
                return found
            form = urlencode({"paths": key, "expand": "false"}).encode()
            entries, _ = self._told(f"{self._api}/paths-info/{commit}", list, form)
            for entry in entries:
                if entry["type"] == "file" and entry["path"] == key:
                    return self._listed(entry)
        raise NotFoundError(f"{self.display_url(key)}: the repository has no such file")

    def _head(self, key: str, commit: str) -> RemoteObject | None:
        """A file as its own address states it; None if that is too little."""
        told: dict[str, str] = {}

        def listen(answer: Answer) -> None:
            told.update({name.lower(): str(value) for name, value in answer.headers.items()})

        address = self._resolve_address(key, commit)
        try:
            with self._requests.answer("HEAD", address, check=listen, stays=True) as answer:
                is_elsewhere = answer.leads_to is not None
        except Refused as refused:
            if refused.answer.status in _NOT_SPOKEN:
                return None
            raise
        check_identity(told.get("x-repo-commit"), commit, self.display_url(key))
        length = None if is_elsewhere else told.get("content-length")
        size = length or told.get("x-linked-size")
        oid = plain_etag(told.get("x-linked-etag") or told.get("etag"))
        if size is None or oid is None:
            return None
        return self._file_of(key, int(size), oid, told.get("x-xet-hash"))

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self.translating("reading", remote.key):
            if (start, end) == (0, remote.size):
                return self._range(self._address(remote), remote, start, end)
            expired, left = None, _MOST_ADDRESSES
            while True:
                asked, is_mine = self._addresses.of(remote.key, expired)
                try:
                    if is_mine:
                        return self._first(remote, start, end, asked)
                    return self._range(asked.result(), remote, start, end)
                except Refused as refused:
                    left -= 1
                    if not left or not self._has_expired(refused.answer):
                        raise
                    expired = asked.result()

    def _has_expired(self, answer: Answer) -> bool:
        """Whether it may be the address, signed by the Hub, that is refused."""
        return answer.status in _EXPIRED and not self._requests.is_at(answer.address)

    def _first(self, remote: RemoteObject, start: int, end: int, asked: Future[str]) -> Buffer:
        """The bytes, by the endpoint's own address; all others wait for where that leads."""
        try:
            return self._range(self._address(remote), remote, start, end, asked)
        except BaseException as error:
            if not asked.done():
                self._addresses.lost(remote.key, asked, error)
            raise

    def _range(
        self,
        address: str,
        remote: RemoteObject,
        start: int,
        end: int,
        asked: Future[str] | None = None,
    ) -> Buffer:
        """The bytes; ``asked`` is told where they are as soon as that is known."""
        named = self.display_url(remote.key)

        def look(answer: Answer) -> None:
            _check_planned(remote, answer, named)
            leads_to = answer.leads_to
            if asked is not None and leads_to is not None and not self._requests.is_at(leads_to):
                self._addresses.known(remote.key, asked, leads_to)

        is_whole = (start, end) == (0, remote.size)
        headers = {} if is_whole else {"Range": f"bytes={start}-{end - 1}"}
        with self._requests.answer("GET", address, headers, check=look) as answer:
            content_range = answer.header("Content-Range")
            check_answer(answer.status, content_range, start, end, remote.size, named)
            if is_whole and content_range is None:
                check_identity(answer.header("Content-Length"), str(remote.size), named)
            if asked is not None:
                self._addresses.known(remote.key, asked, answer.address)
            return answer.take(end - start)

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        if remote.stream_id is not None:
            yield from self._by_xet(remote)
            return
        named = self.display_url(remote.key)
        check = partial(_check_planned, remote, named=named)
        with (
            self.translating("reading", remote.key),
            self._requests.answer("GET", self._address(remote), check=check) as answer,
        ):
            check_answer(answer.status, None, 0, remote.size, remote.size, named)
            yield from answer.chunks(STREAM_CHUNK)

    def _by_xet(self, remote: RemoteObject) -> Iterator[Buffer]:
        """The whole of a file by way of hf_xet."""
        with self._resolving:
            if self._xet is None:
                token_url = f"{self._api}/xet-read-token/{remote.version}"
                self._xet = Xet(token_url, self._requests.rights, self._network, self._token_of)
        try:
            yield from self._xet.stream(remote)
        except KaiwoError:
            raise
        except Exception as error:
            raise xet_error(error, f"reading {self.display_url(remote.key)} by Xet") from None

    def _token_of(self, url: str) -> dict[str, Any]:
        """The token that the endpoint gives for the store of Xet, and where that is."""
        with self.translating("asking for a token of Xet", ""):
            told: dict[str, Any] = self._told(url, dict)[0]
            return told

    def _listed(self, entry: dict[str, Any]) -> RemoteObject:
        """A file as the tree states it."""
        oid = (entry.get("lfs") or entry)["oid"]
        return self._file_of(entry["path"], int(entry["size"]), oid, entry.get("xetHash"))

    def _file_of(self, key: str, size: int, oid: str, xet_hash: str | None) -> RemoteObject:
        """A file, to be streamed by Xet where it is there and large enough for that."""
        by_xet = self._xet_above is not None and size > self._xet_above
        return file_of(key, size, oid, self._commit, xet_hash if by_xet else None)

    def _resolve_address(self, key: str, commit: str) -> str:
        """Where the endpoint has a file, or says where it is."""
        return f"{self._home}/resolve/{quote(commit, safe='')}/{quote(key)}"

    def _address(self, remote: RemoteObject) -> str:
        return self._resolve_address(remote.key, remote.version or "")

    def _told(
        self, address: str, kind_of: type[T], form: bytes | None = None
    ) -> tuple[T, str | None]:
        """What the API answers, of that type, and the address of the page that follows."""
        kind = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        method = "GET" if form is None else "POST"
        with self._requests.answer(method, address, kind, form) as answer:
            following = _NEXT.search(answer.header("Link") or "")
            told = json.loads(answer.body())
        if not isinstance(told, kind_of):
            raise TypeError
        return told, following[1] if following else None

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, Refused):
            return self._refused(error.answer, what)
        if isinstance(error, http.client.InvalidURL):
            return ServiceError(f"{what}: no address of a service; check the endpoint")
        if isinstance(error, OSError | http.client.HTTPException):
            return wire_error(error, what)
        if isinstance(error, GARBLED):
            return garbled(what, "Hub")
        return None

    def _refused(self, answer: Answer, what: str) -> KaiwoError:
        status, code = answer.status, answer.header("X-Error-Code") or ""
        message = answer.header("X-Error-Message")
        if not self._requests.is_at(answer.address) and status in (401, 403):
            # A signed address that is no longer valid; the next attempt is given a new one.
            return TransientError(f"{what}: the signed address is refused ({status})")
        if message == _DISABLED:
            code = message
        elif not code and status == 401 and message != _BAD_TOKEN:  # noqa: PLR2004
            # The Hub does not tell a missing repository from a private one.
            code = "RepoNotFound"
        if code not in _CODES:
            return status_error(status, what, code, dict(answer.headers.items()))
        kind, text = _CODES[code]
        page, repository = redact.url(self._home), f"{self._repo_type} {self._repo_id}"
        why = text.format(repository=repository, page=page, revision=self._revision)
        return kind(f"{what}: {why}")


def _check_planned(remote: RemoteObject, answer: Answer, named: str) -> None:
    """Refuse the bytes of another commit, or of another file, as far as an answer tells.

    Raises:
        ChangedError: a mirror, most likely, has something else there.
    """
    check_identity(answer.header("X-Repo-Commit"), remote.version, named)
    linked = plain_etag(answer.header("X-Linked-Etag"))
    if linked is not None and len(linked) == len(remote.etag or ""):  # of the same kind
        check_identity(linked, remote.etag, named)
    check_identity(answer.header("X-Linked-Size"), str(remote.size), named)
