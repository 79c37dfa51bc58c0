"""Variables that lead requests to other addresses than a provider's usual ones.

kaiwo reads some of them itself, the SDKs of the providers read the others. Values are shown without
what may be a secret: user info, query and fragment of a URL, all of a connection string but its
address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.tasks.connection_strings import address_of, fields_of
from kaiwo.tasks.fields import require_account, require_endpoint

#: Services of AWS that are asked: S3, and those that give credentials.
_OF_AWS = ("", "_S3", "_STS", "_SSO", "_SSO_OIDC", "_SIGNIN")
_SCHEME = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://")


class Address(Struct, frozen=True):
    """What a variable says.

    Attributes:
        shown: its value, without what may be a secret.
        problem: why it cannot be used, if that is known; empty if not.
    """

    shown: str
    problem: str = ""


def addresses() -> Iterator[tuple[str, Address]]:
    """The variables that are set, by name."""
    for name, read in VARIABLES.items():
        if value := os.environ.get(name):
            yield name, read(name, value)


def _plain(name: str, value: str) -> Address:  # noqa: ARG001 - the form of all of them
    return Address(_without_secrets(value))


def _endpoint(name: str, value: str) -> Address:
    user_info = name == "HF_ENDPOINT"
    # Google's clients accept it with and without a scheme.
    whole = f"http://{value}" if name == "STORAGE_EMULATOR_HOST" and "://" not in value else value
    shown = _without_secrets(value)
    try:
        require_endpoint(whole.rstrip("/"), user_info=user_info)
    except ConfigError as error:
        return Address(shown, error.message)
    return Address(shown)


def _account(name: str, value: str) -> Address:
    try:
        require_account(value, name)
    except ConfigError as error:
        return Address(redact.HIDDEN, error.message.removeprefix(f"{name}: "))
    return Address(value)


def _connection(name: str, value: str) -> Address:
    fields = fields_of(value)
    address, account = address_of(fields)
    try:
        if not fields.get("blobendpoint"):
            require_account(account or "", name)
        return Address(require_endpoint(address or ""))
    except ConfigError:
        # Without a semicolon, the key is a part of the name.
        return Address(redact.HIDDEN, "the account's name or address is malformed")


def _without_secrets(value: str) -> str:
    start = "".join(_SCHEME.findall(value))
    _, at, host = value.removeprefix(start).rpartition("@")
    user = f"{redact.HIDDEN}@" if at else ""
    return f"{start}{user}{re.split('[?#]', host, maxsplit=1)[0]}"


VARIABLES: Mapping[str, Callable[[str, str], Address]] = {
    **{f"AWS_ENDPOINT_URL{service}": _endpoint for service in _OF_AWS},
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": _plain,
    "AWS_USE_FIPS_ENDPOINT": _plain,
    "AWS_USE_DUALSTACK_ENDPOINT": _plain,
    "AWS_DEFAULT_REGION": _plain,
    "AWS_REGION": _plain,
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": _plain,
    "STORAGE_EMULATOR_HOST": _endpoint,
    "GCE_METADATA_HOST": _plain,
    "GCE_METADATA_ROOT": _plain,
    "GCE_METADATA_IP": _plain,
    "AZURE_STORAGE_CONNECTION_STRING": _connection,
    "AZURE_STORAGE_ACCOUNT_NAME": _account,
    "AZURE_AUTHORITY_HOST": _plain,
    "AZURE_REGIONAL_AUTHORITY_NAME": _plain,
    "AZURE_POD_IDENTITY_AUTHORITY_HOST": _plain,
    "IDENTITY_ENDPOINT": _plain,
    "IMDS_ENDPOINT": _plain,
    "MSI_ENDPOINT": _plain,
    "HF_ENDPOINT": _endpoint,
    "HUGGINGFACE_CO_STAGING": _plain,
    "HF_HUB_OFFLINE": _plain,
    "TRANSFORMERS_OFFLINE": _plain,
}
