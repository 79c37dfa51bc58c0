"""Whose rights a task has: the bearer token of the moment, for both engines and all threads.

    Identity ── token ─> Token          asked for once, by one thread; kept until it is due
             ── replace ─> bool         after a service refused a token that should still be valid

A token is due when half of its life is over, at the latest five minutes before its end: services
give the same token until then. If the next one cannot be had, the old one counts to its end. All
buckets of a task in a process share one identity (``tasks/kept.py``), so a metadata service is
asked once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from kaiwo.net import proxies
from kaiwo.workers.shared_calls import SharedCalls

#: A token is replaced at most so long before its end.
_EARLY_S = 300.0
#: A new token is asked for again at the soonest after this time, if that was in vain.
_PAUSE_S = 5.0
#: Names of metadata services: a proxy must not see their tokens, and could not reach them.
_OF_THIS_MACHINE = ("localhost", "metadata", "metadata.google.internal")
logger = logging.getLogger(__name__)


class Token(Struct, frozen=True):
    """A bearer token.

    Attributes:
        value: the token, a secret.
        expires_s: when it ends, in seconds since 1970; None if nobody knows.
        due_s: when the next one is asked for.
    """

    value: str
    expires_s: float | None = None
    due_s: float | None = None

    @classmethod
    def until(cls, value: str, expires_s: float) -> Token:
        """A token that was given a moment ago."""
        life_s = max(expires_s - time.time(), 0.0)
        return cls(value, expires_s, expires_s - min(_EARLY_S, life_s / 2))

    def __repr__(self) -> str:
        """Without the token."""
        return f"Token(expires_s={self.expires_s!r})"


class TokenError(Exception):
    """No token was given; the cause says why.

    Args:
        name: whose token; see ``Identity``.
    """


class Identity:
    """Who a task is for its service. Called from many threads at once.

    Args:
        name: who that is and where that was found, without secrets: ``the service principal of
            client_secret_file``. Messages show it.
        ask: asks for a token. It is given True if a token that should be valid was refused: what
            is remembered of it does not count.
        project: that requests are counted for, if the service needs to be told.
    """

    def __init__(self, name: str, ask: Callable[[bool], Token], project: str | None = None) -> None:
        self.name = name
        self.project = project
        self._ask = ask
        self._calls = SharedCalls[str, Token]()
        self._token: Token | None = None
        self._early_again_s = self._refused_again_s = 0.0

    def describe(self) -> str:
        """See ``StoreSource``."""
        return self.name

    def kept(self) -> Token | None:
        """The token, as long as it is not due."""
        known = self._token
        is_due = known is not None and known.due_s is not None and time.time() >= known.due_s
        return None if is_due else known

    def token(self) -> Token:
        """The token of the moment.

        Raises:
            TokenError: none is given.
        """
        if (kept := self.kept()) is not None:
            return kept
        known, now_s = self._token, time.time()
        is_valid = known is not None and known.expires_s is not None and now_s < known.expires_s
        if known is not None and is_valid and time.monotonic() < self._early_again_s:
            return known
        try:
            return self._ask_once(known, refused=False)
        except TokenError:
            if known is None or not is_valid:
                raise
            logger.debug("the next token of %s is not there yet", self.name)
            self._early_again_s = time.monotonic() + _PAUSE_S
            return known

    def replace(self, refused: str) -> bool:
        """Whether there is another token now than the one that a service refused.

        Args:
            refused: the token that was sent.

        Raises:
            TokenError: none is given.
        """
        known = self._token
        if known is not None and known.value != refused:
            return True
        if time.monotonic() < self._refused_again_s:
            return False  # a new one was refused, too: its age is not the reason
        found = self._ask_once(known, refused=True)
        self._refused_again_s = time.monotonic() + _PAUSE_S
        return found.value != refused

    def for_obstore(self) -> Mapping[str, Any]:
        """The token in obstore's form; obstore asks again for each request."""
        return {"token": self.token().value, "expires_at": datetime.now(UTC)}

    def _ask_once(self, old: Token | None, *, refused: bool) -> Token:
        """The token after an old one; several threads that need it ask once."""

        def ask() -> Token:
            known = self._token
            if known is not None and known is not old:
                return known  # another thread has just asked
            try:
                self._token = found = self._ask(refused)
            except Exception as error:
                raise TokenError(self.name) from error
            return found

        return self._calls.make(f"{refused}", ask)


def proxy_for_token(address: str) -> str | None:
    """The proxy for a request that brings a token, with user info; a secret.

    Metadata services are asked without any.
    """
    return None if is_of_this_machine(address) else proxies.url_for(address)


def is_of_this_machine(address: str) -> bool:
    """Whether a metadata service is asked: by plain HTTP, at an address of this machine alone."""
    import ipaddress  # noqa: PLC0415 - where nobody signs in, nothing needs it

    parts = urlsplit(address)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme != "http":
        return False
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in _OF_THIS_MACHINE
    return number.is_loopback or number.is_link_local
