"""Requests to the endpoint of a Hub, and to wherever that leads.

Redirects are followed here, one by one, so that the token goes to the endpoint's own scheme, host
and port only, whatever leads where. A repository that was renamed is found at the endpoint itself,
and needs it; the host of the bytes has its own signature in the address.

A host that asks to be left alone for a time is: meanwhile, requests to it fail at once, as they
would if they were made. The engine waits too, but it may be half-way through a batch.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from huggingface_hub import constants

from kaiwo._version import __version__
from kaiwo.errors import BusyError, CredentialsError, ServiceError
from kaiwo.net.headers import header_token
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import retry_after_s
from kaiwo.sources.hub.connections import Answer, Connections, basic_authorization

_MOST_REDIRECTS = 10
_BUSY = {429, 503}
#: Scheme, host and port.
_Place = tuple[str, str | None, int | None]


class Refused(Exception):  # noqa: N818 - an answer, which its source tells of
    """An answer whose status is an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Endpoint:
    """An endpoint with the rights that there are. Called from many threads at once.

    Args:
        address: of the endpoint.
        token: None for what the library finds by itself (``HF_TOKEN``, its own login).
        network: timeouts.
        ca_bundle: path of the certificates to trust, or None for the system's.
    """

    def __init__(
        self, address: str, token: str | None, network: NetworkSettings, ca_bundle: str | None
    ) -> None:
        self._place = _place(address)
        #: The header that the endpoint, and nobody else, is sent.
        self.rights = basic_authorization(address)
        token = token or _found_token()
        if token and not self.rights:
            self.rights = {"Authorization": f"Bearer {header_token(token, 'token')}"}
        self._connections = Connections(network, ca_bundle)
        #: Until when, by the monotonic clock, which host is to be left alone.
        self._quiet_until_s: dict[_Place, float] = {}

    def close(self) -> None:
        """Let the connections go."""
        self._connections.close()

    def is_at(self, address: str) -> bool:
        """Whether an address is the endpoint's own, which may see the token."""
        return _place(address) == self._place

    @contextlib.contextmanager
    def answer(
        self,
        method: str,
        address: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        check: Callable[[Answer], None] = lambda _: None,
        stays: bool = False,
    ) -> Iterator[Answer]:
        """The answer that redirects lead to, whose body is not read yet.

        Args:
            method: of HTTP; it stays what it is.
            address: at the endpoint, or where that led to before.
            headers: besides the token.
            body: of the request.
            check: is given every answer on the way.
            stays: a redirect to somewhere else is the answer itself.

        Raises:
            Refused: its status is an error.
            BusyError: the host has asked to be left alone.
        """
        for _ in range(_MOST_REDIRECTS):
            place = _place(address)
            self._require_patience(place)
            with self._asked(method, address, headers or {}, body) as answer:
                check(answer)
                if answer.status in _BUSY:
                    self._be_quiet(place, answer)
                leads_to = answer.leads_to
                if leads_to is None and answer.status >= 300:  # noqa: PLR2004 - no success
                    raise Refused(answer)
                if leads_to is None or (stays and not self.is_at(leads_to)):
                    yield answer
                    return
                address = leads_to
        raise ServiceError("it is redirected again and again; check the endpoint")

    def _be_quiet(self, place: _Place, answer: Answer) -> None:
        """Leave a host alone for as long as it asks."""
        wait_s = retry_after_s(dict(answer.headers.items()))
        if wait_s is not None:
            self._quiet_until_s[place] = time.monotonic() + wait_s

    def _require_patience(self, place: _Place) -> None:
        wait_s = self._quiet_until_s.get(place, 0.0) - time.monotonic()
        if wait_s > 0:
            raise BusyError(f"{place[1]} asked to be left alone for {wait_s:.0f} s more", wait_s)

    def _asked(
        self, method: str, address: str, headers: dict[str, str], body: bytes | None
    ) -> contextlib.AbstractContextManager[Answer]:
        """One request, with the token if it goes to the endpoint itself."""
        rights = self.rights if self.is_at(address) else {}
        named = {"User-Agent": f"kaiwo/{__version__}", **headers, **rights}
        return self._connections.request(method, address, named, body)


def _found_token() -> str | None:
    """The token that the library finds by itself, without loading it where there is none."""
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    # Where it looks first, its variable, and where it would look else: a login's file, Colab.
    if "HF_OIDC_RESOURCE" not in os.environ:
        token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
        if token and token.strip():
            return token.strip()
        if not os.path.exists(constants.HF_TOKEN_PATH) and "google.colab" not in sys.modules:
            return None
    # Not its build_hf_headers: that asks the Hub a question of its own first.
    from huggingface_hub import get_token  # noqa: PLC0415 - 0.3 s

    try:
        return get_token()
    except Exception as error:
        raise CredentialsError(
            f"the Hub's library finds no token ({type(error).__name__}), though HF_OIDC_RESOURCE "
            "or a login says that there is one; give it as token or token_file"
        ) from None


def _place(address: str) -> _Place:
    """Scheme, host and port: what a token is for."""
    parts = urlsplit(address)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port
