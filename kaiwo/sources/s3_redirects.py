"""The SDK's HTTP session, which follows a redirect without what signs a request.

aiohttp follows redirects below the SDK. It takes all headers but one to any host, a session token
too, and at the end of the redirect the signature is missing or wrong. So here:

- An answer that names the bucket's region is not followed: the SDK signs again for that region.
- At another origin, no header of the request is kept but those that say which bytes are meant. A
  gateway that redirects to a signed address is read like this.
- If the end of the redirect refuses such a request, the redirect is the answer. Its error says what
  to do.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import aiohttp
import yarl
from aiobotocore.httpsession import AIOHTTPSession

from kaiwo.net import proxies, redirects
from kaiwo.net.header_limits import header_limits

#: What another origin may see.
_HARMLESS = {"accept-encoding", "if-match", "range", "user-agent"}
_REFUSED = {400, 401, 403}
#: TLS by what it trusts: path, inode, size and time of a file with certificates.
_TRUSTING: dict[tuple[str, int, int, int], Any] = {}


class _Proxies:
    """Tells the SDK the proxy for each address; it would read the environment by other rules."""

    settings: ClassVar[dict[str, str]] = {}

    def proxy_url_for(self, address: str) -> str | None:
        """The proxy with its user and password, of which aiohttp makes the header."""
        return proxies.url_for(address)

    def proxy_headers_for(self, address: str) -> dict[str, str]:  # noqa: ARG002 - the SDK's name
        """No more headers."""
        return {}


class RedirectingSession(AIOHTTPSession):  # type: ignore[misc]  # no types
    """See the module's docstring."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._proxy_config = _Proxies()

    def _build_verify_context(self) -> Any:
        """TLS that trusts what is given, shared by all sessions: to read it takes 20 ms or more."""
        if self._cert_file or not isinstance(self._verify, str):
            return super()._build_verify_context()  # the SDK adds the client's certificate to it
        status = os.stat(self._verify)
        key = (self._verify, status.st_ino, status.st_size, status.st_mtime_ns)
        if (found := _TRUSTING.get(key)) is None:
            found = _TRUSTING.setdefault(key, super()._build_verify_context())
        return found

    async def _get_session(self, proxy_url: Any) -> Any:
        client = await super()._get_session(proxy_url)
        for name, limit in header_limits().items():
            setattr(client, f"_{name}", limit)  # the SDK makes the session without them
        return _Redirecting(client)


class _Redirecting:
    """A client of aiohttp for the one method that the SDK calls."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client

    async def request(
        self, method: str, url: yarl.URL, headers: Any, **others: Any
    ) -> aiohttp.ClientResponse:
        """The answer at the end of all redirects; the first one if the end refuses."""

        async def send(url: yarl.URL, headers: Any) -> aiohttp.ClientResponse:
            answer = await self._client.request(
                method, url, headers=headers, allow_redirects=False, **others
            )
            # The SDK takes every header for UTF-8; names of files come in Latin-1, too.
            answer._raw_headers = tuple((name, _utf8(value)) for name, value in answer._raw_headers)  # noqa: SLF001
            return answer

        first = answer = await send(url, headers)
        try:
            for _ in range(redirects.MOST_HOPS - 1):
                target = _target(answer)
                if target is None or method not in ("GET", "HEAD"):
                    break
                if not _is_same_origin(url, target):
                    headers = {n: v for n, v in headers.items() if n.lower() in _HARMLESS}
                if answer is not first:
                    answer.release()
                url, answer = target, await send(target, headers)
        except BaseException:
            first.close()
            raise
        if answer is first:
            return first
        is_refused = answer.status in _REFUSED or answer.status in redirects.STATUSES
        (answer if is_refused else first).close()
        return first if is_refused else answer


def _utf8(value: bytes) -> bytes:
    """A header's value in UTF-8."""
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1").encode("utf-8")
    return value


def _target(answer: aiohttp.ClientResponse) -> yarl.URL | None:
    """Where a redirect leads; None if the answer is none that may be followed."""
    location = answer.headers.get("Location")
    if answer.status not in redirects.STATUSES or not location:
        return None
    if "x-amz-bucket-region" in answer.headers:
        return None
    try:
        target = answer.url.join(yarl.URL(location, encoded=True))
    except ValueError:
        return None
    if target.scheme not in ("http", "https") or not target.host:
        return None
    return None if (answer.url.scheme, target.scheme) == ("https", "http") else target


def _is_same_origin(one: yarl.URL, other: yarl.URL) -> bool:
    return redirects.origin_of(str(one)) == redirects.origin_of(str(other))
