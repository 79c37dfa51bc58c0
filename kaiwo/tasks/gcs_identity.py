"""Who a GCS task is for Google: fields, then the environment, then the machine; read here alone.

    anonymous: true, or withheld          nobody
    application_credentials (+ _file)     the JSON of a key, a login or a federation, see ``KINDS``
    token (+ _file)                       an access token
    an endpoint of plain HTTP             nobody: an emulator, and no token is sent without TLS
    GOOGLE_APPLICATION_CREDENTIALS        a file with such JSON
    gcloud's folder                       application_default_credentials.json
    GCE_METADATA_HOST                     the metadata server; without it, the usual one is probed

The SDK's ``google.auth.default`` looks in the same places. It also asks for the project, by a
request that needs rights of its reader, and it probes a metadata server that the environment names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from kaiwo import environment
from kaiwo.errors import ConfigError, CredentialsError
from kaiwo.loading import loading
from kaiwo.net.headers import header_token
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.identity import Identity, Token

if TYPE_CHECKING:
    from kaiwo.sources.gcs_tokens import TokenRequests

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
#: Types of JSON that Google's clients take, and what they are called.
KINDS = {
    "service_account": "service account",
    "authorized_user": "login",
    "external_account": "workload identity federation",
    "external_account_authorized_user": "login of a workforce",
    "impersonated_service_account": "impersonation",
}
VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
METADATA = ("GCE_METADATA_HOST", "GCE_METADATA_ROOT")
_ACCOUNT = re.compile(r"[\w.+-]{1,100}@[\w.-]{1,200}")
#: At the end of the address that gives the tokens of another account.
_IMPERSONATED = re.compile(r"/serviceAccounts/([^/:]+):generateAccessToken")


class AmbientFile(Struct, frozen=True):
    """A file with Google credentials that no task names.

    Attributes:
        path: of the file.
        place: what names it, for messages.
    """

    path: str
    place: str


def ambient_file() -> AmbientFile | None:
    """The file that the environment names, or gcloud's; None if there is neither."""
    if path := os.environ.get(VARIABLE):
        return AmbientFile(path, VARIABLE)
    usual = os.path.expanduser("~/.config/gcloud")
    name = "application_default_credentials.json"
    path = os.path.join(os.environ.get("CLOUDSDK_CONFIG") or usual, name)
    return AmbientFile(path, path) if os.path.isfile(path) else None


def metadata_variable() -> str | None:
    """The variable that names a metadata server, if one does."""
    return next((name for name in METADATA if os.environ.get(name)), None)


def described(text: str) -> str:
    """Whose credentials a text is: its kind, and the account where it names one.

    Raises:
        ValueError: it is no JSON of Google's.
    """
    info = json.loads(text)
    kind = KINDS.get(str(info.get("type"))) if isinstance(info, Mapping) else None
    if kind is None:
        raise ValueError("no credentials of Google's")
    address = str(info.get("service_account_impersonation_url", ""))
    account = _IMPERSONATED.search(address)
    name = account[1] if account else str(info.get("client_email", ""))
    return f"{kind} {name}" if _ACCOUNT.fullmatch(name) else kind


def of_json(text: str, place: str, network: NetworkSettings, trust: str | None) -> Identity:
    """The identity that a JSON of Google's describes.

    Args:
        text: the JSON.
        place: what names it, for messages.
        network: timeouts.
        trust: see ``TokenRequests``.

    Raises:
        ConfigError: it is something else.
    """
    with loading():
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - only runs that use GCS

        from kaiwo.sources.gcs_tokens import TokenRequests, asking  # noqa: PLC0415

    try:
        name, info = described(text), json.loads(text)
        make = _maker(info)
        make()
    except (ValueError, KeyError, TypeError, AttributeError, GoogleAuthError):
        # The library's message may quote the key.
        raise ConfigError(
            f"{place} is not the JSON of a service account's key, of a login, or of a federation"
        ) from None
    ask, project = asking(make, TokenRequests(network, trust)), info.get("quota_project_id")
    return Identity(f"the {name} of {place}", ask, project or None)


def of_token(token: str, place: str) -> Identity:
    """The identity of an access token that the task gives.

    Args:
        token: the token.
        place: what names it, for messages.

    Raises:
        ConfigError: no header can hold it.
    """
    given = Token(header_token(token, "token"))
    return Identity(f"the token of {place}", lambda _: given)


def of_environment(network: NetworkSettings, trust: str | None) -> Identity:
    """The identity of the environment or of the machine.

    Raises:
        ConfigError: the environment names a file that is not there.
        CredentialsError: there is none that can be used.
    """
    hint = "give application_credentials_file, or anonymous: true for a public bucket"
    if (file := ambient_file()) is not None:
        try:
            with open(os.path.expanduser(file.path), encoding="utf-8") as opened:
                found = of_json(opened.read(), file.place, network, trust)
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            if named := environment.missing_file((VARIABLE,)):
                raise ConfigError(named) from None
            why = error.strerror if isinstance(error, OSError) else "it holds none of Google's"
            raise CredentialsError(f"no credentials in {file.place} ({why}); {hint}") from None
        found.project = os.environ.get("GOOGLE_CLOUD_QUOTA_PROJECT") or found.project
        return found
    with loading():
        from kaiwo.sources.gcs_tokens import TokenRequests, asking  # noqa: PLC0415

    send = TokenRequests(network, trust)
    variable = metadata_variable()
    if variable is None and not _is_on_gce(send):
        raise CredentialsError(
            f"no usable Google credentials were found: {VARIABLE} is not set, gcloud has no login, "
            f"and no metadata server answers; {hint}"
        )
    name = f"the service account of the metadata server{f' of {variable}' if variable else ''}"
    project = os.environ.get("GOOGLE_CLOUD_QUOTA_PROJECT")
    return Identity(name, asking(_of_metadata, send), project)


def _is_on_gce(send: TokenRequests) -> bool:
    with loading():
        from google.auth.compute_engine import _metadata  # noqa: PLC0415

    return bool(_metadata.is_on_gce(send))


def _of_metadata() -> Any:
    from google.auth import compute_engine  # noqa: PLC0415 - loaded by now

    return compute_engine.Credentials(scopes=[SCOPE])


def _maker(info: Mapping[str, Any]) -> Callable[[], Any]:
    """A function that makes google-auth's credentials of a JSON."""
    with loading():
        from google.auth import (  # noqa: PLC0415
            aws,
            external_account_authorized_user,
            identity_pool,
            impersonated_credentials,
            pluggable,
        )
        from google.oauth2 import credentials, service_account  # noqa: PLC0415

    scoped: Mapping[str, Any] = {"scopes": [SCOPE]}
    match info["type"]:
        case "service_account":
            account: Any = service_account.Credentials
            return lambda: account.from_service_account_info(info, **scoped)
        case "authorized_user":
            # A login has the scopes that it was made with; no others may be asked for.
            user: Any = credentials.Credentials
            return lambda: user.from_authorized_user_info(info)
        case "external_account_authorized_user":
            kind = external_account_authorized_user.Credentials
            return lambda: kind.from_info(info, **scoped)
        case "impersonated_service_account":
            other: Any = impersonated_credentials.Credentials
            return lambda: other.from_impersonated_service_account_info(info, **scoped)
    source = info.get("credential_source") or {}
    federated: Any = identity_pool
    if info.get("subject_token_type") == "urn:ietf:params:aws:token-type:aws4_request":
        federated = aws
    elif source.get("executable") is not None:
        federated = pluggable
    return lambda: federated.Credentials.from_info(info, **scoped)
