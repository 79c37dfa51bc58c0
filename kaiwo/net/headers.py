"""Makes headers of what a user gives, and reads what they state."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

from kaiwo.errors import ConfigError


def header_token(token: str, name: str) -> str:
    """A token without the white space around it, safe to put into a header.

    Args:
        token: as the user gave it.
        name: of its field, for the error.

    Raises:
        ConfigError: a header cannot hold it.
    """
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise ConfigError(f"{name} contains a line break or a character that no token has")
    return token


def media_type(content_type: str | None) -> str:
    """The media type that a header states, in lower case and without its parameters."""
    return (content_type or "").partition(";")[0].strip().lower()


def basic_authorization(address: str) -> str | None:
    """User and password of an address as the value of a header; None if it has none."""
    parts = urlsplit(address)
    if parts.username is None:
        return None
    return basic(unquote(parts.username), unquote(parts.password or ""))


def basic(user: str, password: str) -> str:
    """User and password as the value of a header (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
