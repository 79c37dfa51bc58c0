"""The Hugging Face Hub, or a mirror of it: one repository at one commit.

The revision is resolved once. The commit travels in the ``version`` of each object, so every
worker asks for that commit. What the Hub states of a file is also its checksum: the sha256 of LFS
files, the git sha1 of the others. The library's cache names its blobs by the same.

    a whole file     GET its resolve address; the bytes come, or a redirect to another host
    ranges           the first range asks the resolve address; the others ask the address that it
                     was redirected to (a signed address, most often)

- The Hub does not tell a missing repository from a private one (401 without a code).
- A named file of the Hub itself is looked up by a HEAD of its resolve address, as the library
  does: the limit for such requests is higher. A mirror is asked by its API first, which states the
  kind of a digest, and by a HEAD where the API does not know.
- A model card may be free while the repository is gated. So the first LFS file is looked up
  before the listing counts.
- 403 or 401 from a signed address is a temporary failure: the next attempt gets a new address.
- The functions of the library are not used: they keep one client for the whole process, wait
  without limit, and take 0.3 s to load.

See docs/decisions/0033 to 0037.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from huggingface_hub import constants
from msgspec.structs import replace

from kaiwo import checksums, redact
from kaiwo.errors import ChangedError, KaiwoError, NotFoundError, ServiceError, TransientError
from kaiwo.net import redirects
from kaiwo.net.answers import Answer
from kaiwo.net.certificates import ClientFiles
from kaiwo.net.client import CONNECTION_ERRORS
from kaiwo.net.failures import wire_error
from kaiwo.net.redirects import RedirectError
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import GARBLED, RefusedError, garbled
from kaiwo.objects import RemoteObject
from kaiwo.protocols import PIECE, Buffer
from kaiwo.sources.base import StoreSource
from kaiwo.sources.hub.api import Api
from kaiwo.sources.hub.blobs import check_commit, maybe_pointer, of_entry, of_headers, require_name
from kaiwo.sources.hub.endpoint import Endpoint
from kaiwo.sources.hub.errors import map_refusal
from kaiwo.sources.hub.listing import PageCount, is_file, missing_file, named_files
from kaiwo.sources.hub.reading import FileReader
from kaiwo.sources.hub.repository import Repository
from kaiwo.sources.hub.xet import Xet, xet_error
from kaiwo.sources.paging import Page
from kaiwo.workers.shared_calls import SharedCalls

logger = logging.getLogger(__name__)
#: The Hub itself; all others are mirrors of it.
_HUBS = {redirects.origin_of("https://huggingface.co"), redirects.origin_of("https://hf.co")}
#: Method not allowed, not implemented.
_UNSUPPORTED = {405, 501}


class HubSource(StoreSource):
    """The files of one repository.

    Args:
        repo_id: ``owner/repo``, or a canonical one-word name.
        repo_type: ``model``, ``dataset`` or ``space``.
        revision: branch, tag, commit or ``refs/pr/N``.
        endpoint: None for the library's (``HF_ENDPOINT``).
        url: ``hf://[datasets/]owner/repo@revision/``.
        token, network, ca_bundle, client: see ``Endpoint``.
        xet_above: larger files come by Xet, if the Hub has them there; None: no file does.
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
        client: ClientFiles = (None, None),
        xet_above: int | None = None,
    ) -> None:
        address = (endpoint or constants.ENDPOINT).rstrip("/")
        super().__init__(url, redact.url(address))
        self._repository = Repository(address, repo_id, repo_type)
        self._revision = revision
        self._commit: str | None = None
        self._commits = SharedCalls[str, str]()
        #: Everyone may list it, but only who was granted access may read it.
        self._is_gated = False
        #: Files of the commit; a listing must have them.
        self._named: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._endpoint = Endpoint(address, token, network, ca_bundle, client)
        self._reader = FileReader(self._endpoint, self._repository)
        self._api = Api(self._endpoint, self._repository)
        self._is_hub = redirects.origin_of(address) in _HUBS
        #: Files whose bytes contradict the API: an entry of a tree may be that of a pointer.
        self._contradicted: set[str] = set()
        self._network = network
        self._xet_above = xet_above
        self._xet: Xet | None = None

    def close(self) -> None:
        """See ``protocols.Source``."""
        self._endpoint.close()
        if self._xet is not None:
            self._xet.close()

    def commit(self) -> str:
        """The commit of the revision, resolved by the first call."""
        return self._commit or self._commits.make("", self._resolve)

    def _resolve(self) -> str:
        if self._commit is not None:  # a branch that moves in between must not give two commits
            return self._commit
        if constants.is_offline_mode():
            raise ServiceError(f"{self._url}: HF_HUB_OFFLINE is set, so the Hub is not asked")
        with self.translating("resolving", ""):
            info = self._api.revision(self._revision)
            self._is_gated = bool(info.get("gated"))
            self._named = named_files(info)
            self._commit = require_name(info["sha"])
        logger.info("%s is commit %s", self._url.rstrip("/"), self._commit)
        self._url = f"{self._url.partition('@')[0]}@{self._commit}/"  # for messages from now on
        return self._commit

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        found = self.list_pages(prefix, partial(self._pages, prefix, self.commit()))
        missing = missing_file(prefix, {remote.key for remote in found}, self._named)
        # If none is listed, the tree is wrong, and a mirror may have no other way to ask.
        if missing is not None and (not found or self._exists(missing)):
            raise TransientError(
                f"{self.describe('listing', prefix)}: the listing lacks {missing!r}, so it is not "
                "complete"
            )
        return iter(found)

    def _exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except TransientError:
            raise
        except KaiwoError:
            return False  # a mirror may name what it does not have
        return True

    def _pages(self, prefix: str, commit: str, token: str) -> Iterator[Page]:
        """The pages of a tree; the token is the query of the next page."""
        query = token or "recursive=true&expand=false"
        has_access, count = not self._is_gated, PageCount()
        while query:
            with self.translating("listing", prefix):
                entries, query = self._api.page(commit, prefix.rstrip("/"), query)
                files = [entry for entry in entries if is_file(entry)]
                count.add((entry["path"] for entry in entries), self.describe("listing", prefix))
            if files and not has_access:
                # One refusal now, not one for each file. A model card may be free.
                key = next((each for each in files if each.get("lfs")), files[0])["path"]
                with self.translating("looking up", key):
                    self._head(key, commit)
                has_access = True
            yield list(map(self._parse_entry, files)), query

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        commit = self.commit()
        ways = (self._head, self._ask_api) if self._is_hub else (self._ask_api, self._head)
        with self.translating("looking up", key):
            found = next((each for way in ways if (each := way(key, commit))), None)
            if found is not None and ways[0] == self._ask_api and self._is_gated:
                self._head(key, commit)  # the API lists what may not be read
            if found is not None and key in self._contradicted:
                found = self._behind_pointer(found)
        if found is None:
            raise NotFoundError(f"{self.display_url(key)}: the repository has no such file")
        return found

    def _behind_pointer(self, found: RemoteObject) -> RemoteObject:
        """The file, if the API states the pointer in its place: the id of the pointer proves it."""
        head = self._head(found.key, self.commit())
        if head is None or head.checksum is None or head.checksum.algorithm != "sha256":
            return found
        pointer = checksums.of_pointer(head.checksum.value, head.size)
        return head if found.checksum == pointer else found

    def _ask_api(self, key: str, commit: str) -> RemoteObject | None:
        """A file as the API states it; None if the API does not know."""
        entry = self._api.entry(commit, key)
        return None if entry is None else self._parse_entry(entry)

    def _head(self, key: str, commit: str) -> RemoteObject | None:
        """A file as its resolve address states it; None if size or id is missing.

        A HEAD that the bytes contradicted is not believed again: the start of a GET is.
        """
        is_believed = key not in self._contradicted
        method = "HEAD" if is_believed else "GET"
        stated: dict[str, str] = {}

        def collect(answer: Answer) -> None:
            stated.update({name.lower(): str(value) for name, value in answer.headers.items()})

        address = self._repository.resolve_address(key, commit)
        try:
            with self._endpoint.request(method, address, check=collect, stay=is_believed) as answer:
                is_elsewhere = answer.redirect_target is not None
        except RefusedError as refused:
            if refused.status in _UNSUPPORTED:
                return None
            raise
        check_commit(stated.get("x-repo-commit"), commit, self.display_url(key))
        length = None if is_elsewhere else stated.get("content-length")
        sizes = {stated.get("x-linked-size"), length}
        found = {int(each) for each in sizes if each is not None and each.isdecimal()}
        if len(found) != 1:
            return None  # unknown, or one contradicts the other
        remote = of_headers(key, stated, found.pop(), commit, of_hub=self._is_hub)
        return None if remote is None else self._by_xet(remote, stated.get("x-xet-hash"))

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self._reading(remote.key):
            return self._reader.read(remote, start, end, self.display_url(remote.key))

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        if remote.stream_id is not None:
            yield from self._stream_by_xet(remote)
            return
        end = remote.size if end is None else end
        pieces = self._reader.stream(remote, start, end, piece, self.display_url(remote.key))
        with self._reading(remote.key):
            yield from self.read_pieces(pieces, remote, end - start)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """A block that reads a file; remembers that its answers contradict what was planned."""
        with self.translating("reading", key):
            try:
                yield
            except ChangedError:
                self._contradicted.add(key)
                raise

    def _stream_by_xet(self, remote: RemoteObject) -> Iterator[Buffer]:
        with self._lock:
            if self._xet is None:
                token_url = self._repository.token_address(remote.version or "")
                authorization = self._endpoint.authorization
                self._xet = Xet(token_url, authorization, self._network, self._fetch_xet_token)
        try:
            yield from self._xet.stream(remote)
        except KaiwoError:
            raise
        except Exception as error:
            raise xet_error(error, f"reading {self.display_url(remote.key)} by Xet") from None

    def _fetch_xet_token(self, url: str) -> dict[str, Any]:
        """The endpoint's token for the store of Xet, and the address of that store."""
        with self.translating("asking for a token of Xet", ""):
            token: dict[str, Any] = self._api.call(url, dict)[0]
            return token

    def _parse_entry(self, entry: dict[str, Any]) -> RemoteObject:
        """A file as an entry of the tree states it."""
        remote, xet_hash = of_entry(entry, self._commit)
        return self._by_xet(remote if self._is_hub else maybe_pointer(remote, entry), xet_hash)

    def _by_xet(self, remote: RemoteObject, xet_hash: str | None) -> RemoteObject:
        """A file; it is streamed by Xet if Xet has it and it is large enough."""
        by_xet = self._xet_above is not None and remote.size > self._xet_above
        return replace(remote, stream_id=xet_hash) if by_xet else remote

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, RefusedError):
            ours = self._endpoint.owns(error.address)
            return map_refusal(error, what, self._repository, self._revision, at_endpoint=ours)
        if isinstance(error, RedirectError):
            return ServiceError(f"{what}: {error}; check the endpoint")
        if isinstance(error, CONNECTION_ERRORS):
            return wire_error(error, what)
        return garbled(what, "Hub") if isinstance(error, GARBLED) else None
