"""Who signs in at S3: found once for each task, given to both engines, renewed where it expires.

The SDK's chain finds keys, a login, a web identity, or what a container or an instance has. A role
may be assumed with it. All of that is the SDK's code; it runs in a session that serves no S3, so
that its region, its timeouts and its certificates are those of identity services.

Both engines ask the same object: obstore by ``Identity.give``, and the filesystem by the provider
of ``s3_session.provide``. Threads that need new keys at the same time make one request and share
its end. An identity that is not there is looked for once: the metadata service of an instance,
which is asked last, may be an address that never answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from kaiwo import redact
from kaiwo.errors import (
    KaiwoError,
    NoAnswerError,
    NotAllowedYetError,
)
from kaiwo.loading import loading
from kaiwo.net.failures import chain
from kaiwo.sources.base import CREDENTIALS_VALID_FOR
from kaiwo.tasks import s3_identity_errors, s3_identity_words
from kaiwo.tasks.s3_settings import Credentials, keys
from kaiwo.workers.shared_calls import SharedCalls

logger = logging.getLogger(__name__)
#: Keys that cannot be renewed at this moment are used for this long, while they are valid.
_ONCE_MORE = timedelta(seconds=5)


class Role(Struct, frozen=True):
    """A role that is assumed with the identity that is found.

    Attributes:
        arn: its name.
        external_id: what its owner may ask for.
        session_name: what its owner sees in its log.
    """

    arn: str
    external_id: str | None = None
    session_name: str | None = None

    def __repr__(self) -> str:
        """Without what its owner may keep secret."""
        return f"Role({self.arn!r})"

    def arguments(self) -> dict[str, str]:
        """Of the SDK's call, beside the name."""
        named = {"ExternalId": self.external_id, "RoleSessionName": self.session_name}
        return {name: value for name, value in named.items() if value is not None}


class _Held(Struct, frozen=True):
    """Keys, and until when both engines use them, by the monotonic clock."""

    keys: Any
    until_s: float
    expires_at: datetime

    def __repr__(self) -> str:
        return f"_Held(until_s={self.until_s})"


class Identity:
    """Gives keys to both engines. Called from many threads at once.

    Args:
        session: botocore's, for this alone.
        given: the task's keys: access key, secret key, session token; None for the SDK's chain.
        role: to be assumed with them.
    """

    def __init__(
        self, session: Any, given: tuple[str, str, str | None] | None, role: Role | None
    ) -> None:
        self._session = session
        self._given = given
        self._role = role
        self._method = "explicit" if given else ""
        self._found: Any = None
        self._failing: list[bool] | None = None
        self._held: _Held | None = None
        self._absent: Exception | None = None
        self._calls = SharedCalls[str, _Held]()

    def describe(self) -> str:
        """Who signs in, and where that comes from; without secrets, empty if nothing is found."""
        base = s3_identity_words.described(self._method, self._session)
        if self._role is None:
            return base
        return f"the role {self._role.arn}, assumed with {base}" if base else ""

    def give(self) -> Credentials:
        """The keys in obstore's form.

        Raises:
            KaiwoError: there are none at this moment.
            NoCredentialsError: of the SDK; nobody signs in.
        """
        held = self._fresh()
        return keys(*held.keys[:3]) | {"expires_at": held.expires_at}

    def held(self) -> Any:
        """The SDK's frozen keys; None where a request is needed to have them."""
        held = self._held
        return held.keys if held is not None and time.monotonic() < held.until_s else None

    def ask(self) -> Any:
        """The SDK's frozen keys; see ``give``."""
        return self._fresh().keys

    def _fresh(self) -> _Held:
        held = self._held
        if held is not None and time.monotonic() < held.until_s:
            return held
        return self._calls.make("", self._fetch)

    def _fetch(self) -> _Held:
        if self._absent is not None:
            raise self._absent
        with loading():
            from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

        try:
            with redact.marked():  # a thread of obstore's, or of an event loop
                self._found = self._found or self._find()
                self._held = held = _held(*self._latest())
        except NoCredentialsError as error:
            self._absent = error
            raise
        except KaiwoError:
            raise
        except Exception as error:
            found = s3_identity_errors.to_kaiwo_error(error, self._what(), self._method)
            logger.debug("%s (%s)", found, " from ".join(type(e).__name__ for e in chain(error)))
            valid = self._still_valid()
            if valid is None:
                raise found from None
            logger.warning("%s; the credentials that it gave before are valid", found.message)
            self._held = held = valid
        return held

    def _latest(self) -> tuple[Any, datetime | None]:
        """The SDK's keys, renewed where they expire soon, and when they do."""
        frozen = self._found.get_frozen_credentials()
        return frozen, getattr(self._found, "_expiry_time", None)

    def _still_valid(self) -> _Held | None:
        """The SDK's keys, which could not be renewed, for a moment: if they are valid after it."""
        frozen = getattr(self._found, "_frozen_credentials", None)
        expires, now = getattr(self._found, "_expiry_time", None), datetime.now(UTC)
        if frozen is None or expires is None or expires - now < 2 * _ONCE_MORE:
            return None
        return _Held(frozen, time.monotonic() + _ONCE_MORE.total_seconds(), now + _ONCE_MORE)

    def _find(self) -> Any:
        """The SDK's credentials, which renew themselves."""
        found = self._base()
        if self._role is None:
            return found
        with loading():
            from botocore.credentials import (  # noqa: PLC0415
                AssumeRoleCredentialFetcher,
                DeferredRefreshableCredentials,
            )

        fetcher = AssumeRoleCredentialFetcher(
            client_creator=self._session.create_client,
            source_credentials=found,
            role_arn=self._role.arn,
            extra_args=self._role.arguments(),
        )
        return DeferredRefreshableCredentials(
            refresh_using=fetcher.fetch_credentials, method="assume-role"
        )

    def _base(self) -> Any:
        """What is given or found, before a role is assumed."""
        with loading():
            from botocore.credentials import Credentials  # noqa: PLC0415
            from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

        if self._given is not None:
            return Credentials(*self._given, method="explicit")
        if self._failing is None:
            self._failing = _watched(self._session)
        self._failing.clear()
        for provider in self._session.get_component("credential_provider").providers:
            self._method = provider.METHOD
            if (found := provider.load()) is not None:
                self._method = found.method or provider.METHOD
                return found
        if any(self._failing):
            raise NoAnswerError(f"{self._what()}: the service fails")
        if self._session.get_config_variable("ec2_metadata_service_endpoint"):
            raise NotAllowedYetError(f"{self._what()}: it gives no credentials")
        self._method = ""
        raise NoCredentialsError

    def _what(self) -> str:
        return f"signing in as {self.describe() or 'somebody'}"


def _held(frozen: Any, expires: datetime | None) -> _Held:
    """How long keys are used without a question whether they are the latest.

    The SDK renews keys ten minutes before they expire. Of keys that live shorter, half is used.
    """
    now = datetime.now(UTC)
    valid_for = CREDENTIALS_VALID_FOR
    if expires is not None:
        valid_for = min(valid_for, max((expires - now) / 2, timedelta()))
    return _Held(frozen, time.monotonic() + valid_for.total_seconds(), now + valid_for)


def _watched(session: Any) -> list[bool]:
    """For each answer of the instance's metadata service: whether it fails. The SDK is silent."""
    failing: list[bool] = []
    for provider in session.get_component("credential_provider").providers:
        fetcher = getattr(provider, "_role_fetcher", None)
        client = getattr(fetcher, "_session", None)
        if client is None:
            continue

        def send(request: Any, send: Callable[[Any], Any] = client.send) -> Any:
            answer = send(request)
            failing.append(answer.status_code >= 500)  # noqa: PLR2004 - HTTP's
            return answer

        client.send = send
    return failing
