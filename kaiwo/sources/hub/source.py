"""The Hugging Face Hub, or a mirror of it: one repository at one commit.

The revision is resolved once. The commit travels in the ``version`` of each object, so every
worker asks for that commit. What the Hub states of a file is also its checksum: the sha256 of LFS
files, the git sha1 of the others. The library's cache names its blobs by the same.

    a whole file     GET its resolve address; the bytes come, or a redirect to another host
    ranges           the first range asks the resolve address; the others ask the address that it
                     was redirected to (a signed address, most often)

- The Hub does not tell a missing repository from a private one (401 without a code).
- A named file is looked up by a HEAD of its resolve address, as the library does, because every
  mirror answers that. Some mirrors lack ``paths-info``.
- A model card may be free while the repository is gated. So the first LFS file is looked up
  before the listing counts.
- 403 or 401 from a signed address is a temporary failure: the next attempt gets a new address.
- The functions of the library are not used: they keep one client for the whole process, wait
  without limit, and take 0.3 s to load.

See docs/decisions/0033 to 0037.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from huggingface_hub import constants

from kaiwo import redact
from kaiwo.errors import KaiwoError, NotFoundError, ServiceError, TransientError
from kaiwo.net.failures import wire_error
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import GARBLED, RefusedError, garbled
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.answers import check_identity, plain_etag
from kaiwo.sources.base import StoreSource
from kaiwo.sources.hub.blobs import describe_file
from kaiwo.sources.hub.connections import Answer
from kaiwo.sources.hub.endpoint import Endpoint
from kaiwo.sources.hub.errors import map_refusal
from kaiwo.sources.hub.listing import missing_file, named_files, next_page_query
from kaiwo.sources.hub.reading import FileReader
from kaiwo.sources.hub.repository import Repository
from kaiwo.sources.hub.xet import Xet, xet_error
from kaiwo.sources.paging import Page

logger = logging.getLogger(__name__)
T = TypeVar("T")
#: Method not allowed, not implemented.
_UNSUPPORTED = {405, 501}


class HubSource(StoreSource):
    """The files of one repository.

    Args:
        repo_id: ``owner/repo``, or a canonical one-word name.
        repo_type: ``model``, ``dataset`` or ``space``.
        revision: branch, tag, commit or ``refs/pr/N``.
        token: None: look for one as the library does (``HF_TOKEN``, its login).
        endpoint: None for the library's (``HF_ENDPOINT``).
        url: ``hf://[datasets/]owner/repo@revision/``.
        network: timeouts.
        ca_bundle: path of the certificates to trust, or None for the system's.
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
        xet_above: int | None = None,
    ) -> None:
        address = (endpoint or constants.ENDPOINT).rstrip("/")
        super().__init__(url, redact.url(address))
        self._repository = Repository(address, repo_id, repo_type)
        self._revision = revision
        self._commit: str | None = None
        #: Everyone may list it, but only who was granted access may read it.
        self._is_gated = False
        #: Files of the commit; a listing must have them.
        self._named: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._endpoint = Endpoint(address, token, network, ca_bundle)
        self._reader = FileReader(self._endpoint, self._repository)
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
        # Many files may ask at once; a branch that moves in between must not give two commits.
        with self._lock:
            if self._commit is None:
                self._commit = self._resolve()
                logger.info("%s is commit %s", self._url.rstrip("/"), self._commit)
                # Messages name the commit from now on.
                self._url = f"{self._url.partition('@')[0]}@{self._commit}/"
        return self._commit

    def _resolve(self) -> str:
        if constants.is_offline_mode():
            raise ServiceError(f"{self._url}: HF_HUB_OFFLINE is set, so the Hub is not asked")
        with self.translating("resolving", ""):
            address = f"{self._repository.api}/revision/{quote(self._revision, safe='')}"
            info, _ = self._call_api(address, dict)
            self._is_gated = bool(info.get("gated"))
            self._named = named_files(info)
            return str(info["sha"])

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        found = self.list_pages(prefix, partial(self._pages, prefix, self.commit()))
        missing = missing_file(prefix, {remote.key for remote in found}, self._named)
        if missing is not None and self._exists(missing):
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
        folder = f"/{quote(prefix.rstrip('/'))}" if prefix else ""
        address = f"{self._repository.api}/tree/{commit}{folder}"
        query = token or "recursive=true&expand=false"
        has_access = not self._is_gated
        while query:
            with self.translating("listing", prefix):
                entries, query = self._call_api(f"{address}?{query}", list)
                files = [entry for entry in entries if entry["type"] == "file"]
            if files and not has_access:
                # One refusal now, not one for each file. A model card may be free.
                self.stat(next((each for each in files if each.get("lfs")), files[0])["path"])
                has_access = True
            yield list(map(self._parse_entry, files)), query

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``.

        A HEAD of the resolve address is what the library sends, so every mirror answers it. If the
        answer lacks size or id, the API is asked.
        """
        commit = self.commit()
        with self.translating("looking up", key):
            found = self._head(key, commit)
            if found is not None:
                return found
            form = urlencode({"paths": key, "expand": "false"}).encode()
            entries, _ = self._call_api(f"{self._repository.api}/paths-info/{commit}", list, form)
            for entry in entries:
                if entry["type"] == "file" and entry["path"] == key:
                    return self._parse_entry(entry)
        raise NotFoundError(f"{self.display_url(key)}: the repository has no such file")

    def _head(self, key: str, commit: str) -> RemoteObject | None:
        """A file as its resolve address states it; None if size or id is missing."""
        stated: dict[str, str] = {}

        def collect(answer: Answer) -> None:
            stated.update({name.lower(): str(value) for name, value in answer.headers.items()})

        address = self._repository.resolve_address(key, commit)
        try:
            with self._endpoint.request("HEAD", address, check=collect, stay=True) as answer:
                is_elsewhere = answer.redirect_target is not None
        except RefusedError as refused:
            if refused.status in _UNSUPPORTED:
                return None
            raise
        check_identity(stated.get("x-repo-commit"), commit, self.display_url(key))
        length = None if is_elsewhere else stated.get("content-length")
        size = length or stated.get("x-linked-size")
        oid = plain_etag(stated.get("x-linked-etag") or stated.get("etag"))
        if size is None or oid is None:
            return None
        return self._describe_file(key, int(size), oid, stated.get("x-xet-hash"))

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self.translating("reading", remote.key):
            return self._reader.read(remote, start, end, self.display_url(remote.key))

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        if remote.stream_id is not None:
            yield from self._stream_by_xet(remote)
            return
        with self.translating("reading", remote.key):
            yield from self._reader.stream(remote, self.display_url(remote.key))

    def _stream_by_xet(self, remote: RemoteObject) -> Iterator[Buffer]:
        with self._lock:
            if self._xet is None:
                token_url = f"{self._repository.api}/xet-read-token/{remote.version}"
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
            token: dict[str, Any] = self._call_api(url, dict)[0]
            return token

    def _parse_entry(self, entry: dict[str, Any]) -> RemoteObject:
        """A file as an entry of the tree states it."""
        oid = (entry.get("lfs") or entry)["oid"]
        return self._describe_file(entry["path"], int(entry["size"]), oid, entry.get("xetHash"))

    def _describe_file(self, key: str, size: int, oid: str, xet_hash: str | None) -> RemoteObject:
        """A file; it is streamed by Xet if Xet has it and it is large enough."""
        by_xet = self._xet_above is not None and size > self._xet_above
        return describe_file(key, size, oid, self._commit, xet_hash if by_xet else None)

    def _call_api(
        self, address: str, expected: type[T], form: bytes | None = None
    ) -> tuple[T, str]:
        """The answer of the API, of that type, and the query of the next page.

        Raises:
            TypeError: the answer has another type.
            ValueError: it is not JSON, or the address of the next page has no query.
        """
        headers = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        method = "GET" if form is None else "POST"
        with self._endpoint.request(method, address, headers, form) as answer:
            query = next_page_query(answer.headers.get_all("Link", []))
            content = json.loads(answer.body())
        if not isinstance(content, expected):
            raise TypeError
        return content, query

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, RefusedError):
            at_endpoint = self._endpoint.owns(error.address)
            return map_refusal(
                error, what, self._repository, self._revision, at_endpoint=at_endpoint
            )
        if isinstance(error, http.client.InvalidURL):
            return ServiceError(f"{what}: not the address of a service; check the endpoint")
        if isinstance(error, OSError | http.client.HTTPException):
            return wire_error(error, what)
        if isinstance(error, GARBLED):
            return garbled(what, "Hub")
        return None
