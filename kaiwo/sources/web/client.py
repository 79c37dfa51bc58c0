"""Requests to a web server, with what the user gives for it; see ``options`` and ``keyring``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping

from kaiwo.net.answers import Answer
from kaiwo.net.client import Client
from kaiwo.net.proxies import Proxy, proxy_for
from kaiwo.net.statuses import RefusedError
from kaiwo.sources.web.headers import WHOLE
from kaiwo.sources.web.keyring import WebKeyring
from kaiwo.sources.web.options import WebOptions

logger = logging.getLogger(__name__)


class WebClient:
    """Sends the requests of one source. Called from many threads at once.

    Args:
        root: the address of the source; it may hold user info.
        url: the same without secrets, for warnings.
        options: of the user.
    """

    def __init__(self, root: str, url: str, options: WebOptions) -> None:
        self._url = url
        self._query = options.query
        self._keyring = WebKeyring(root, options.headers, has_netrc=options.trusts_environment)
        keyring, find_proxy = self._keyring, _finder(options)
        self._client = Client(options.network, lambda: options.trust, keyring, find_proxy)
        self._warned: set[str] = set()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str] | None = None,
        *,
        accepts: Collection[int] = (),
    ) -> Iterator[Answer]:
        """The answer at the end of all redirects; see ``Client.request``.

        Raises:
            RefusedError: the status is no success with a body, and no accepted one.
        """
        if self._query:
            address = f"{address}{'&' if '?' in address else '?'}{self._query}"
        with self._client.request(
            method, address, headers, check=self._keyring.keep_cookies, accepts=accepts
        ) as answer:
            if answer.status not in (*WHOLE, 206, *accepts):
                raise RefusedError(answer.status, "", dict(answer.headers), address)
            yield answer

    def warn_once(self, text: str) -> None:
        """Log a warning about the source, the first time only."""
        if text not in self._warned:
            self._warned.add(text)
            logger.warning("%s %s", self._url, text)


def _finder(options: WebOptions) -> Callable[[str], Proxy | None]:
    if options.proxy is not None or not options.trusts_environment:
        return lambda _: options.proxy
    return proxy_for
