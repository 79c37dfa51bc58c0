"""What a user gives that must stand in a header."""

from __future__ import annotations

from kaiwo.errors import ConfigError


def header_token(token: str, name: str) -> str:
    """A token as it may stand in a header: without the white space around it.

    Args:
        token: as the user gave it.
        name: of its field, for the error.

    Raises:
        ConfigError: no header can hold it.
    """
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise ConfigError(f"{name} has a line break in it, or a letter that no token has")
    return token
