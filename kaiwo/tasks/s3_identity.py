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
from kaiwo.errors import CredentialsError, KaiwoError, NotAllowedYetError, TransientError
from kaiwo.loading import loading
from kaiwo.net.failures import chain, connection_error
from kaiwo.net.statuses import status_error
from kaiwo.sources.base import CREDENTIALS_VALID_FOR
from kaiwo.tasks import s3_identity_words
from kaiwo.tasks.s3_settings import Credentials, keys
from kaiwo.workers.shared_calls import SharedCalls

logger = logging.getLogger(__name__)
#: What a login or a profile needs, which no wait brings.
_FINAL = ("SSOError", "TokenRetrievalError", "PartialCredentialsError", "LoginError")


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

    def arguments(self) -> dict[str, str]:
        """Of the SDK's call, beside the name."""
        named = {"ExternalId": self.external_id, "RoleSessionName": self.session_name}
        return {name: value for name, value in named.items() if value is not None}


class _Held(Struct, frozen=True):
    """Keys, and until when both engines use them, by the monotonic clock."""

    keys: Any
    until_s: float
    expires_at: datetime


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
                if self._found is None:
                    self._found = self._find()
                frozen = self._found.get_frozen_credentials()
        except NoCredentialsError as error:
            self._absent = error
            raise
        except KaiwoError:
            raise
        except Exception as error:
            found = self._to_kaiwo_error(error)
            logger.debug("%s (%s)", found, " from ".join(type(e).__name__ for e in chain(error)))
            raise found from None
        self._held = held = _held(frozen, getattr(self._found, "_expiry_time", None))
        return held

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
        watch = _watched(self._session)
        for provider in self._session.get_component("credential_provider").providers:
            self._method = provider.METHOD
            if (found := provider.load()) is not None:
                self._method = found.method or provider.METHOD
                return found
        if watch() or self._session.get_config_variable("ec2_metadata_service_endpoint"):
            raise NotAllowedYetError(f"{self._what()}: it gives no credentials")
        self._method = ""
        raise NoCredentialsError

    def _what(self) -> str:
        return f"signing in as {self.describe() or 'somebody'}"

    def _to_kaiwo_error(self, error: Exception) -> KaiwoError:
        """The error for a failure of the SDK to have keys; its text may hold any secret."""
        with loading():
            from botocore import exceptions as boto  # noqa: PLC0415

        what = self._what()
        if isinstance(error, boto.ClientError):
            return _refusal(error.response, what)
        missing = next((each for each in chain(error) if isinstance(each, FileNotFoundError)), None)
        if missing is None and (found := connection_error(error, what)) is not None:
            return found
        if missing is not None and self._method != "custom-process":
            return NotAllowedYetError(f"{what}: {missing.filename} does not exist")
        if isinstance(error, boto.MetadataRetrievalError | boto.CredentialRetrievalError):
            return NotAllowedYetError(f"{what}: it gives no credentials")
        hint = s3_identity_words.hint(self._method)
        return CredentialsError(f"{what}: no usable credentials ({type(error).__name__}){hint}")


def _held(frozen: Any, expires: datetime | None) -> _Held:
    """How long keys are used without a question whether they are the latest.

    The SDK renews keys ten minutes before they expire. Of keys that live shorter, half is used.
    """
    now = datetime.now(UTC)
    valid_for = CREDENTIALS_VALID_FOR
    if expires is not None:
        valid_for = min(valid_for, max((expires - now) / 2, timedelta()))
    return _Held(frozen, time.monotonic() + valid_for.total_seconds(), now + valid_for)


def _refusal(response: Any, what: str) -> KaiwoError:
    """The error for an answer of an identity service."""
    metadata = response.get("ResponseMetadata", {})
    status, code = int(metadata.get("HTTPStatusCode") or 500), response.get("Error", {}).get("Code")
    found = status_error(status, what, str(code), metadata.get("HTTPHeaders", {}))
    if isinstance(found, TransientError | CredentialsError):
        return found
    # Such as InvalidIdentityToken: another status than of a refusal, and one all the same.
    answer = found.message.rpartition(": ")[0]
    return NotAllowedYetError(f"{answer}: the service refuses this identity; check it and its role")


def _watched(session: Any) -> Callable[[], bool]:
    """Whether the instance's metadata service answered that it fails; the SDK does not say it."""
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
    return lambda: any(failing)
