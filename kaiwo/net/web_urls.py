"""Web addresses: where their path ends, and how people read it."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from kaiwo import redact
from kaiwo.net.redirects import origin_of

#: What keeps its escape: it would mean something else in an address, or cannot be shown.
_NOT_PLAIN = r"[?#%\x00-\x1f\x7f]|(?:^|/)\.{1,2}(?:/|$)"


def is_web(address: str) -> bool:
    """Whether it is an http or https address, in which ``?`` and ``#`` end the path."""
    return address[:8].lower().startswith(("http://", "https://"))


def fault_of_address(address: str) -> str | None:
    """Why a URL cannot lead anywhere, or None."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return "an invalid host or port"
    return "no host" if is_web(address) and not parts.hostname else None


def service_of(address: str) -> str:
    """The server of a URL without user info: scheme, host and port; empty if it names no host."""
    scheme, host, port = origin_of(address)
    if not host:
        return ""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def web_name(address: str) -> str:
    """The path of a web address as people read it; other URLs as they are.

    In other URLs, ``?`` and ``#`` are letters of the name.
    """
    return plain_name(urlsplit(address).path) if is_web(address) else address


def shown_key(address: str, key: str) -> str:
    """A key as people read it, without secrets: on the web, its query may be a signature.

    Args:
        address: a URL of the source that has the key.
        key: see ``RemoteObject``.
    """
    name = re.split("[?#]", key, maxsplit=1)[0] if is_web(address) else key
    # As a part of a path: the folder ``token=1`` of a bucket is no credential.
    return redact.text(f"./{name}")[2:]


def plain_name(path: str) -> str:
    """The path of a web address without its percent-escapes.

    It stays escaped if the plain form could be read as something else, or is not UTF-8.
    """
    try:
        plain = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return path
    same = plain.count("/") == path.count("/") and not re.search(_NOT_PLAIN, plain)
    return plain if same else path
