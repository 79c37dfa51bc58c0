"""Requests to a web server, through the session of fsspec's http filesystem.

Redirects are followed here. The user's headers and credentials go to the first host only, over the
same scheme or https; other hosts are asked in a session without them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import yarl
from multidict import CIMultiDict

from kaiwo import redact
from kaiwo.net import logins, proxies, redirects
from kaiwo.net.codes import code_in
from kaiwo.net.statuses import RefusedError
from kaiwo.sources.web.errors import RedirectError
from kaiwo.sources.web.links import origin_of

#: Options that concern the connection; all others may be secrets.
_CONNECTION_OPTIONS = {"proxy", "proxy_auth", "proxy_headers", "ssl", "timeout"}
_IS_ADDRESS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
#: A refusal is read so far: object stores, asked by a signed address, say why.
_MOST_OF_A_REFUSAL = 1 << 16
logger = logging.getLogger(__name__)


class WebClient:
    """Sends the requests of one source, on the filesystem's event loop.

    Args:
        filesystem: fsspec's http filesystem.
        url: of the source, for warnings.
        session_options: of a session for other hosts, with nothing of the user's.
    """

    def __init__(self, filesystem: Any, url: str, session_options: Mapping[str, Any]) -> None:
        self._filesystem = filesystem
        self._url = url
        self._session_options = session_options
        self._warned: set[str] = set()
        #: The session for other hosts, opened by the first redirect to one.
        self.other_session: aiohttp.ClientSession | None = None

    def parse(self, address: str) -> yarl.URL:
        """The URL of an address: as it was given if it is a valid address, else encoded."""
        if _IS_ADDRESS.fullmatch(address):
            return yarl.URL(address, encoded=True)
        return self._filesystem.encode_url(address)  # type: ignore[no-any-return]

    async def request(
        self,
        method: str,
        address: yarl.URL,
        headers: Mapping[str, str] | None = None,
        *,
        expected: int = 200,
        auto_decompress: bool = False,
    ) -> aiohttp.ClientResponse:
        """The answer at the end of all redirects; its body is not read yet.

        Raises:
            RefusedError: the status is neither 200 nor 206, nor the expected one.
            RedirectError: too many redirects, or one to something else than the web.
        """
        first = address
        for _ in range(redirects.MOST_HOPS):
            session, options = await self._session_for(first, address)
            options["headers"].update({"Accept-Encoding": "identity", **(headers or {})})
            if not (address.user or "auth" in options or session.auth):
                login = logins.authorization_for(str(address))
                if login is not None:
                    options["headers"].setdefault("Authorization", login)
            answer = await session.request(
                method, address, **options, auto_decompress=auto_decompress
            )
            is_redirect = answer.status in redirects.STATUSES
            target = answer.headers.get("Location") if is_redirect else None
            if target is None:
                if answer.status not in (200, 206, expected):
                    code = code_in(await _read_start(answer))
                    raise RefusedError(answer.status, code, dict(answer.headers))
                return answer
            answer.release()
            is_encoded = _IS_ADDRESS.fullmatch(target) is not None
            address = address.join(yarl.URL(target, encoded=is_encoded))
            if address.scheme not in ("http", "https"):
                raise RedirectError("it redirects to what is not a web address")
            if first.scheme == "https" and address.scheme == "http":
                self.warn_once(f"redirects from https to http, to {redact.url(str(address))}")
        raise RedirectError("too many redirects")

    async def _session_for(
        self, first: yarl.URL, address: yarl.URL
    ) -> tuple[aiohttp.ClientSession, dict[str, Any]]:
        """The session for an address and its options; the user's headers are for the first host."""
        given = self._filesystem.kwargs
        fixed = {"allow_redirects": False, "raise_for_status": False}
        is_first = origin_of(address).has_server_of(origin_of(first))
        if is_first and address.scheme in (first.scheme, "https"):
            headers = CIMultiDict(given.get("headers") or {})
            session = await self._filesystem.set_session()
            return session, {**self._proxy(address), **given, **fixed, "headers": headers}
        if self.other_session is None:
            self.other_session = aiohttp.ClientSession(**self._session_options)
        options = {name: value for name, value in given.items() if name in _CONNECTION_OPTIONS}
        options = {**self._proxy(address), **options, **fixed, "headers": CIMultiDict[str]()}
        return self.other_session, options

    def _proxy(self, address: yarl.URL) -> dict[str, Any]:
        """The proxy for an address, unless the user gives one for all."""
        if self._filesystem.client_kwargs.get("proxy"):
            return {}
        return {"proxy": proxies.url_for(str(address))}

    def warn_once(self, text: str) -> None:
        """Log a warning about the source, the first time only."""
        if text not in self._warned:
            self._warned.add(text)
            logger.warning("%s %s", self._url, text)


async def _read_start(answer: aiohttp.ClientResponse) -> bytes:
    """The start of a body that matters only if it comes; the answer is closed then."""
    start = b""
    try:
        async for chunk in answer.content.iter_any():
            start += chunk
            if len(start) >= _MOST_OF_A_REFUSAL:
                break
    except (aiohttp.ClientError, OSError):
        logger.debug("the body of a refusal was cut")
    finally:
        answer.close()
    return start
