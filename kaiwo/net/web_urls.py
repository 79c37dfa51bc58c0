"""Addresses of the web: where their path ends, and how people read it."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

#: In a name, it would be something else in an address; or is nothing to be shown.
_NOT_PLAIN = r"[?#%\x00-\x1f\x7f]|(?:^|/)\.{1,2}(?:/|$)"


def is_web(address: str) -> bool:
    """Whether it is an address of http, of which ``?`` and ``#`` end the path."""
    return address[:8].lower().startswith(("http://", "https://"))


def fault_of_address(address: str) -> str | None:
    """Why a URL can lead nowhere, or None."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return "what is no host, or by no number as its port"
    return "no host" if is_web(address) and not parts.hostname else None


def web_name(address: str) -> str:
    """The path of a URL, on the web as people read it; elsewhere ``?`` and ``#`` are letters."""
    return plain_name(urlsplit(address).path) if is_web(address) else address


def plain_name(path: str) -> str:
    """A path of the web without its percent-escapes, unless they stand for what it cannot hold."""
    try:
        plain = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return path
    same = plain.count("/") == path.count("/") and not re.search(_NOT_PLAIN, plain)
    return plain if same else path
