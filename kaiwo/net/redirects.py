"""Redirects: which answers are redirects, where they lead, and what an origin is.

Every client of kaiwo follows redirects itself, one by one, because credentials and signatures must
never reach another host:

    hops          at most ten requests
    schemes       http and https only; https never leads to http
    credentials   are for one server, see ``Credentials``: another host never gets them, the same
                  host gets them by the same scheme or by https
    addresses     as the server states them: no slash and no escape is changed
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from msgspec import Struct

#: HTTP statuses that name another address for the same request (RFC 9110, 15.4).
STATUSES = frozenset({301, 302, 303, 307, 308})
#: A client sends at most this many requests until it has an answer that is no redirect.
MOST_HOPS = 10
#: The port of an address that names none.
DEFAULT_PORTS = {"http": 80, "https": 443}
#: Characters that stay in an address; all others are encoded.
_SAFE = "%/:=&?~#+!$,;'@()*[]"
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class RedirectError(Exception):
    """Redirects that end nowhere, or that must not be followed; the argument says why."""


class Origin(NamedTuple):
    """Scheme, host and port of an address: what credentials are for.

    Attributes:
        scheme: such as ``https``.
        host: without user and port.
        port: None for the default port of the scheme.
    """

    scheme: str
    host: str | None
    port: int | None

    def has_server_of(self, other: Origin) -> bool:
        """Whether host and port agree; the default ports of http and https count as one."""
        return (self.host, self.port) == (other.host, other.port)


def origin_of(address: str) -> Origin:
    """The origin of an address."""
    parts = urlsplit(address)
    port = parts.port
    if not port or port == DEFAULT_PORTS.get(parts.scheme):
        port = None
    return Origin(parts.scheme, parts.hostname, port)


class Credentials(Struct, frozen=True):
    """Headers that only one server may see.

    Attributes:
        origin: of that server.
        headers: such as ``Authorization``.
    """

    origin: Origin
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        """Without the values."""
        return f"Credentials({self.origin!r}, {[*self.headers]})"

    def is_for(self, address: str) -> bool:
        """Whether the address is of that server, by the same scheme or by https."""
        origin = origin_of(address)
        schemes = (self.origin.scheme, "https")
        return origin.has_server_of(self.origin) and origin.scheme in schemes

    def for_address(self, address: str) -> Mapping[str, str]:
        """The headers if the address is of that server."""
        return self.headers if self.is_for(address) else {}


def encoded(address: str) -> str:
    """An address in which every character is allowed; escapes stay as they are."""
    netloc = urlsplit(address).netloc
    if not netloc.isascii():
        user, at, host = netloc.rpartition("@")
        address = address.replace(netloc, f"{quote(user)}{at}{host.encode('idna').decode()}", 1)
    return quote(_NO_ESCAPE.sub("%25", address), safe=_SAFE)


def target_of(address: str, location: str) -> str:
    """The address that a redirect leads to.

    Args:
        address: that was requested.
        location: the header ``Location``, one character for each byte.

    Raises:
        RedirectError: it must not be followed.
    """
    # Some servers state other characters than ASCII as they are, in any encoding.
    plain = quote(location.strip().encode("latin-1", "replace"), safe=_SAFE)
    target = join(address, _NO_ESCAPE.sub("%25", plain))
    try:
        found, first = origin_of(target), origin_of(address)
    except ValueError:
        raise RedirectError("it redirects to an invalid address") from None
    if found.scheme not in DEFAULT_PORTS or not found.host:
        raise RedirectError("it redirects to what is not a web address")
    if (first.scheme, found.scheme) == ("https", "http"):
        raise RedirectError(
            f"it redirects from https to http ({found.host}), which anyone on the way could "
            "change; that is not followed"
        )
    return target


def join(base: str, reference: str) -> str:
    """The address that a reference names (RFC 3986, 5.2), with each of its slashes.

    ``urllib.parse.urljoin`` drops empty segments of a path, and begins others with more slashes.
    """
    reference = reference.partition("#")[0]
    parts = urlsplit(base)
    if _SCHEME.match(reference):
        scheme, _, rest = reference.partition(":")
        return f"{scheme.lower()}:{rest}"
    if reference.startswith("//"):
        return f"{parts.scheme}:{reference}"
    server = f"{parts.scheme}://{parts.netloc}"
    path, mark, query = reference.partition("?")
    if not path:
        own_query = f"?{parts.query}" if parts.query and not mark else ""
        return f"{server}{parts.path}{own_query}{mark}{query}"
    if not path.startswith("/"):
        path = f"{parts.path.rpartition('/')[0]}/{path}"
    return f"{server}{_without_dots(path)}{mark}{query}"


def _without_dots(path: str) -> str:
    """A path without ``.`` and ``..`` (RFC 3986, 5.2.4); empty segments stay."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
