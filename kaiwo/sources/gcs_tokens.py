"""Google's tokens: google-auth asks for them, by the run's proxies, certificates and timeouts.

google-auth waits up to two minutes for an answer, follows redirects, and reads proxies by rules of
its session. So it gets this module's way to send requests.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from datetime import UTC
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request

from kaiwo.errors import KaiwoError, NoAnswerError, NotAllowedYetError
from kaiwo.net.failures import connection_error, wire_error
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.identity import Token, TokenError, proxy_for_token

#: A code of OAuth 2, or a status of Google's.
_WORD = re.compile(r"[A-Za-z_]{1,40}")


class TokenRequests(Request):
    """Sends the requests of google-auth, one after another.

    Args:
        network: timeouts.
        trust: path of the certificates to trust, or None for those that the SDK brings along.
    """

    def __init__(self, network: NetworkSettings, trust: str | None) -> None:
        session = requests.Session()
        session.trust_env = False  # proxies and certificates are given here
        super().__init__(session)
        self._longest_s = network.stall_timeout_s
        self._trust = {} if trust is None else {"verify": trust}

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Any = None,
        timeout: float | None = None,
        **others: Any,
    ) -> Any:
        """One request; a redirect is an answer, because the secrets in it are for this host."""
        proxy = proxy_for_token(url)
        of_all = None if proxy is None else {"http": proxy, "https": proxy}
        options: dict[str, Any] = {"proxies": of_all, "allow_redirects": False}
        timeout_s = min(timeout or self._longest_s, self._longest_s)
        options |= {**self._trust, **others}
        send: Any = super().__call__
        return send(url, method, body, headers, timeout_s, **options)


def asking(make: Callable[[], Any], send: TokenRequests) -> Callable[[bool], Token]:
    """A function that asks for a token, see ``Identity``.

    Args:
        make: makes google-auth's credentials.
        send: sends the requests.
    """
    made: list[Any] = []

    def ask(is_refused: bool) -> Token:
        if is_refused or not made:
            made[:] = [make()]
        (credentials,) = made
        credentials.refresh(send)
        return Token.until(credentials.token, credentials.expiry.replace(tzinfo=UTC).timestamp())

    return ask


def map_token_error(error: TokenError, what: str) -> KaiwoError:
    """The kaiwo error for a token that was not given."""
    cause, what = error.__cause__, f"{what}: asking for a token of {error}"
    if isinstance(cause, KaiwoError):
        return cause
    if isinstance(cause, Exception) and (found := connection_error(cause, what)) is not None:
        return found
    if isinstance(cause, TransportError):
        return wire_error(cause, what)
    if isinstance(cause, GoogleAuthError) and cause.retryable:
        return NoAnswerError(f"{what}: the token service fails")
    said = _reason(cause)
    return NotAllowedYetError(
        f"{what}: none was issued{said}; check this identity, or give anonymous: true for a public "
        "bucket"
    )


def _reason(cause: BaseException | None) -> str:
    """The code that a token service gave, such as ``invalid_grant``; the rest may be a secret."""
    for found in getattr(cause, "args", ())[1:]:
        with contextlib.suppress(ValueError, AttributeError):
            answer = json.loads(found) if isinstance(found, str | bytes) else found
            error = answer.get("error")
            word = error.get("status") if isinstance(error, dict) else error
            if isinstance(word, str) and _WORD.fullmatch(word):
                return f" ({word})"
    return ""
