"""Checks what a user gives for a header."""

from __future__ import annotations

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
