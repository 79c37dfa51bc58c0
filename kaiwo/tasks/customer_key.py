"""The key of objects that S3 encrypts with a key of the customer (SSE-C): 32 bytes, never text.

customer_key: "…"                base64 of 32 bytes, or 32 characters
customer_key_file: /run/key      the same, or 32 bytes as they are
"""

from __future__ import annotations

import base64
import binascii

from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from kaiwo.errors import ConfigError
from kaiwo.files.placement import expanded

LENGTH = 32
_FAULT = "must be 32 bytes, or base64 of 32 bytes"


def require_key(given: SecretStr) -> SecretStr:
    """A field's value, if it is such a key."""
    if _decoded(given.get_secret_value().encode()) is None:
        raise PydanticCustomError("customer_key", _FAULT)
    return given


def key_of(given: SecretStr | None, path: str | None) -> bytes | None:
    """The key's bytes; None where there is neither field.

    Raises:
        ConfigError: the file cannot be read, or holds no such key.
    """
    if given is not None:
        return _decoded(given.get_secret_value().encode())
    if path is None:
        return None
    found = _decoded(content_of(path))
    if found is None:
        raise ConfigError(f"the key in {path} {_FAULT}")
    return found


def content_of(path: str) -> bytes:
    """What is in the file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with open(expanded(path), "rb") as file:
            return file.read(1 << 10)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _decoded(content: bytes) -> bytes | None:
    """The key in what is given; a newline at its end is no part of it."""
    for each in (content, content.rstrip(b"\r\n")):
        if len(each) == LENGTH:
            return each
    try:
        found = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        return None
    return found if len(found) == LENGTH else None
