"""Redirects: which answers are redirects, how many are followed, and what an origin is.

The clients follow redirects themselves, one by one, because credentials and signatures must never
reach another origin. Who may see them is the client's decision; the facts that it needs are here.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

#: HTTP statuses that name another address for the same request (RFC 9110, 15.4).
STATUSES = frozenset({301, 302, 303, 307, 308})
#: A client sends at most this many requests until it has an answer that is no redirect.
MOST_HOPS = 10
#: The port of an address that names none.
DEFAULT_PORTS = {"http": 80, "https": 443}


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
