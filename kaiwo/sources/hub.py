"""The Hugging Face Hub, or a mirror of it: one repository at one commit.

The revision is resolved once, and the commit travels in each object's ``version``: whoever reads
it, in whatever process, asks for that commit. What the Hub states of a file is its checksum too:
the sha256 of LFS files, the git sha1 of the others; the library's cache names its blobs by the
same.

The few requests are made on a client of the source's own, with the token that the library
finds: its functions keep one client for the whole process, and wait for ever.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urljoin

import httpx2
from huggingface_hub import get_token, hf_hub_url
from huggingface_hub.constants import ENDPOINT, HF_HUB_DISABLE_IMPLICIT_TOKEN, is_offline_mode

from kaiwo import redact
from kaiwo._version import __version__
from kaiwo.errors import (
    ConfigError,
    ContainerMissingError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.network import Network, header_token, status_error, wire_error
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.base import STREAM_CHUNK, StoreSource, check_answer

#: The Hub's sentence when it refuses the token itself, not what the token asks for.
_BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 - a message


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
        network: Network,
        ca_bundle: str | None,
    ) -> None:
        super().__init__(url, redact.url(endpoint or ENDPOINT))
        self._repo_id = repo_id
        self._repo_type = repo_type
        self._revision = revision
        self._endpoint = (endpoint or ENDPOINT).rstrip("/")
        self._api = f"{self._endpoint}/api/{repo_type}s/{repo_id}"
        self._commit: str | None = None
        self._resolving = threading.Lock()
        # Not the library's build_hf_headers: it asks the Hub a question of its own first.
        if token is None and not HF_HUB_DISABLE_IMPLICIT_TOKEN:
            token = get_token()
        # Sizes and ranges are those of the file, so it may not be packed on the way.
        headers = {"User-Agent": f"kaiwo/{__version__}", "Accept-Encoding": "identity"}
        if token:
            headers["Authorization"] = f"Bearer {header_token(token, 'token')}"
        try:
            self._client = httpx2.Client(
                headers=headers,
                # A redirect to another host loses the token, which must not leave the endpoint.
                follow_redirects=True,
                timeout=httpx2.Timeout(network.stall_timeout_s, connect=network.connect_timeout_s),
                limits=httpx2.Limits(max_connections=network.connections),
                verify=ssl.create_default_context(cafile=ca_bundle) if ca_bundle else True,
            )
        except (httpx2.InvalidURL, ImportError, OSError, ValueError) as error:
            raise ConfigError(
                f"{url}: the environment's proxy (http_proxy, all_proxy) or certificates "
                f"(SSL_CERT_FILE) cannot be used ({type(error).__name__})"
            ) from None  # which may quote the proxy's user and password

    def close(self) -> None:
        """See ``protocols.Source``."""
        self._client.close()

    def commit(self) -> str:
        """The commit that the revision was when it was first asked for."""
        # Many files may ask at once; a branch that moves in between must not give two commits.
        with self._resolving:
            if self._commit is None:
                self._commit = self._resolved()
        return self._commit

    def _resolved(self) -> str:
        if is_offline_mode():
            raise ServiceError(f"{self._url}: HF_HUB_OFFLINE is set, the Hub is not asked")
        with self._doing("resolving", ""):
            address = f"{self._api}/revision/{quote(self._revision, safe='')}"
            return str(self._accepted(self._client.get(address)).json()["sha"])

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        commit = self.commit()
        folder = f"/{quote(prefix.rstrip('/'))}" if prefix else ""
        address: str | None = f"{self._api}/tree/{commit}{folder}?recursive=true&expand=false"
        while address is not None:
            with self._doing("listing", prefix):
                page = self._accepted(self._client.get(address))
                entries = page.json()
            for entry in entries:
                if entry["type"] == "file":
                    yield _described(entry, commit)
            following = page.links.get("next", {}).get("url")
            address = urljoin(address, following) if following else None

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        commit = self.commit()
        with self._doing("looking up", key):
            address = f"{self._api}/paths-info/{commit}"
            answer = self._client.post(address, data={"paths": [key], "expand": False})
            entries = self._accepted(answer).json()
        for entry in entries:
            if entry["type"] == "file" and entry["path"] == key:
                return _described(entry, commit)
        raise NotFoundError(f"{self._url}{key}: the repository has no such file at {commit[:12]}")

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        headers = {}
        if (start, end) != (0, remote.size):
            headers["Range"] = f"bytes={start}-{end - 1}"
        with self._doing("reading", remote.key), self._get(remote, headers) as answer:
            content_range = answer.headers.get("Content-Range")
            check_answer(answer.status_code, content_range, start, end, remote)
            data: bytes = answer.read()
            return data

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        with self._doing("reading", remote.key), self._get(remote, {}) as answer:
            check_answer(answer.status_code, None, 0, remote.size, remote)
            yield from answer.iter_raw(STREAM_CHUNK)

    @contextlib.contextmanager
    def _get(self, remote: RemoteObject, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """A file's answer whose status is below 400; its body is not read yet."""
        address = hf_hub_url(
            self._repo_id,
            remote.key,
            repo_type=self._repo_type,
            revision=remote.version,
            endpoint=self._endpoint,
        )
        with self._client.stream("GET", address, headers=headers) as answer:
            yield self._accepted(answer)

    def _accepted(self, answer: httpx2.Response) -> httpx2.Response:
        """The answer, if its status is below 400.

        Raises:
            httpx2.HTTPStatusError: it is not; see ``_known``.
        """
        if answer.is_error:
            raise httpx2.HTTPStatusError("refused", request=answer.request, response=answer)
        return answer

    def _known(self, error: Exception, what: str) -> KaiwoError | None:
        if isinstance(error, httpx2.HTTPStatusError):
            return self._refused(error.response, what)
        if isinstance(error, httpx2.TooManyRedirects | httpx2.UnsupportedProtocol):
            return ServiceError(f"{what}: {type(error).__name__}; check the endpoint")
        if isinstance(error, httpx2.TimeoutException):
            return TransientError(f"{what}: no answer in time")
        if isinstance(error, httpx2.TransportError):
            return wire_error(error, what)
        if isinstance(error, KeyError | TypeError | ValueError) and not isinstance(error, OSError):
            return ServiceError(f"{what}: the answer is none of a Hub; check the endpoint")
        return None

    def _refused(self, answer: httpx2.Response, what: str) -> KaiwoError:
        status, code = answer.status_code, answer.headers.get("X-Error-Code", "")
        message = answer.headers.get("X-Error-Message", "")
        repository = f"{self._repo_type} {self._repo_id}"
        if not str(answer.url).startswith(self._endpoint + "/") and status in (401, 403):
            # A signed address that is no longer valid; the next attempt is given a new one.
            return TransientError(f"{what}: the signed address has expired ({status})")
        if code == "GatedRepo":
            return CredentialsError(
                f"{what}: {repository} is gated; ask for access at "
                f"{self._endpoint}/{self._repo_id} and give a token that has it"
            )
        if code == "RevisionNotFound":
            return ContainerMissingError(f"{what}: {repository} has no revision {self._revision}")
        if code == "EntryNotFound":
            return NotFoundError(f"{what}: {repository} has no such file")
        if code == "RepoNotFound" or (status == 401 and message != _BAD_TOKEN):  # noqa: PLR2004
            # The Hub does not tell a missing repository from a private one.
            return ContainerMissingError(
                f"{what}: {repository} does not exist, or is private and needs a token with "
                "the right to read it"
            )
        return status_error(status, what, code, answer.headers)


def _described(entry: dict[str, Any], commit: str) -> RemoteObject:
    """A file as the tree states it."""
    lfs = entry.get("lfs")
    checksum = Checksum("sha256", lfs["oid"]) if lfs else Checksum("git-sha1", entry["oid"])
    return RemoteObject(entry["path"], int(entry["size"]), checksum.value, commit, checksum)
