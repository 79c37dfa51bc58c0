"""Requests to the endpoint of a Hub, and to the hosts that it redirects to.

Redirects are followed here, one by one, so that the token goes to the endpoint's scheme, host and
port only. A renamed repository is found at the endpoint itself and needs the token. The host of
the bytes has its own signature in the address.

If a host asks for a pause (``Retry-After``, or ``RateLimit``, where 429 answers of the Hub state
when a quota resets), requests to it fail at once until then, as they would if they were sent. The
engine waits too, but it may be in the middle of a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from kaiwo._version import __version__
from kaiwo.errors import BusyError, ServiceError
from kaiwo.net import redirects
from kaiwo.net.certificates import ClientFiles
from kaiwo.net.headers import header_token
from kaiwo.net.patience import Patience
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import RefusedError, retry_after_s
from kaiwo.sources.hub import tokens
from kaiwo.sources.hub.connections import Answer, Connections, basic_authorization

_BUSY = {429, 503}


class Endpoint:
    """An endpoint and the credentials for it. Called from many threads at once.

    Args:
        address: of the endpoint.
        token: None: look for one as the library does (``HF_TOKEN``, its login), if the endpoint
            may have that.
        network: timeouts.
        ca_bundle: path of the certificates to trust, or None for the environment's.
        client: files of the client's certificate and key.

    Attributes:
        authorization: the header that only the endpoint gets; empty without credentials.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        network: NetworkSettings,
        ca_bundle: str | None,
        client: ClientFiles = (None, None),
    ) -> None:
        self._origin = redirects.origin_of(address)
        self.authorization = basic_authorization(address)
        if token is None and tokens.may_go_to(address):
            token = tokens.find()
        if token and not self.authorization:
            self.authorization = {"Authorization": f"Bearer {header_token(token, 'token')}"}
        self._connections = Connections(network, ca_bundle, client)
        self._patience = Patience()

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def owns(self, address: str) -> bool:
        """Whether an address has the endpoint's origin, which may see the token."""
        return redirects.origin_of(address) == self._origin

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        address: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        check: Callable[[Answer], None] = lambda _: None,
        stay: bool = False,
    ) -> Iterator[Answer]:
        """The answer at the end of all redirects; its body is not read yet.

        Args:
            method: of HTTP; redirects do not change it.
            address: at the endpoint, or one that the endpoint redirected to before.
            headers: besides the token.
            body: of the request.
            check: is called with every answer on the way.
            stay: do not follow a redirect to another origin; the redirect is the answer.

        Raises:
            RefusedError: the status is an error.
            BusyError: the host asked for a pause that is not over.
            ServiceError: too many redirects.
        """
        for _ in range(redirects.MOST_HOPS):
            origin = redirects.origin_of(address)
            self._require_no_pause(origin)
            with self._send(method, address, headers or {}, body) as answer:
                check(answer)
                if answer.status in _BUSY:
                    self._note_pause(origin, answer)
                target = answer.redirect_target
                if target is None and answer.status >= 300:  # noqa: PLR2004 - no success
                    raise _refusal(answer)
                if target is None or (stay and not self.owns(target)):
                    yield answer
                    return
                address = target
        raise ServiceError("too many redirects; check the endpoint")

    def _note_pause(self, origin: redirects.Origin, answer: Answer) -> None:
        """Remember for how long the host asks for no requests."""
        wait_s = retry_after_s(dict(answer.headers.items()))
        if wait_s is not None:
            self._patience.asked(origin, wait_s)

    def _require_no_pause(self, origin: redirects.Origin) -> None:
        left_s = self._patience.left_s(origin)
        if left_s > 0:
            raise BusyError(f"{origin.host} asks to wait for another {left_s:.0f} s", left_s)

    def _send(
        self, method: str, address: str, headers: dict[str, str], body: bytes | None
    ) -> contextlib.AbstractContextManager[Answer]:
        """One request; with the token if it goes to the endpoint itself."""
        authorization = self.authorization if self.owns(address) else {}
        sent = {"User-Agent": f"kaiwo/{__version__}", **headers, **authorization}
        return self._connections.request(method, address, sent, body)


def _refusal(answer: Answer) -> RefusedError:
    headers = {name.lower(): str(value) for name, value in answer.headers.items()}
    code = answer.header("X-Error-Code") or ""
    return RefusedError(answer.status, code, headers, answer.address)
