"""Types of fields: what a value in the file may be, checked when the file is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.files.names import fault_of

#: A scheme and ``://``; a path may have ``:`` in it.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Model(BaseModel):
    """The base of all that a user may write: frozen, no unknown keys, no value in any error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redact.text(value) if isinstance(value, str) else value


def require_endpoint(address: str) -> str:
    """The address of a service, checked; for what a secret file or the environment holds.

    Raises:
        ConfigError: it cannot be the address of a service.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError("an endpoint must begin with http:// or https://")
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("an endpoint needs a host, and a port that is a number")
    if parts.query or parts.fragment:
        raise ConfigError(
            "an endpoint ends before '?' and '#'; a signature goes into its own field"
        )
    return address


def _endpoint(address: str) -> str:
    try:
        return require_endpoint(address)
    except ConfigError as error:
        raise PydanticCustomError("endpoint", "{fault}", {"fault": error.message}) from None


def require_local(path: str) -> str:
    """A path of this machine; kaiwo only downloads.

    Raises:
        ConfigError: it is a URL.
    """
    if match := _URL.match(path):
        raise ConfigError(
            f"this is a URL ({match[0]}), but must be a path: kaiwo only downloads, to local files"
        )
    return path


def _local(path: str) -> str:
    try:
        return require_local(path)
    except ConfigError as error:
        raise PydanticCustomError("local", "{fault}", {"fault": error.message}) from None


def _inside(target_path: str) -> str:
    """Refuse a target that climbs, or that no file can have."""
    segments = [name for name in target_path.split("/") if name not in ("", ".")]
    if ".." in segments:
        raise PydanticCustomError("target", "'..' would climb out of the download root")
    if segments and (fault := fault_of("/".join(segments))):
        raise PydanticCustomError("target", "{fault}", {"fault": fault})
    return target_path


Text = Annotated[str, StringConstraints(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
#: An address may hold user info or a signature, which are used and never shown.
Address = Annotated[Text, PlainSerializer(redact.text, return_type=str)]
Endpoint = Annotated[Address, AfterValidator(_endpoint)]
#: A path of this machine, and no URL.
LocalPath = Annotated[Text, AfterValidator(_local)]
TargetPath = Annotated[LocalPath, AfterValidator(_inside)]
