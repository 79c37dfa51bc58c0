"""A connection that cannot be made: to the service, or to the proxy that is asked instead.

Where the environment names a proxy for an address, every connection is one to that proxy, so what
fails is the proxy. What it answers itself is another matter, see ``statuses.proxy_error``.
"""

from __future__ import annotations

import re

from kaiwo.errors import ConfigError, UnreachableError
from kaiwo.net import proxies

_ADDRESS = re.compile(r"https?://[^\s,;'\"]+")
#: URLs of services that are on the web, where no other address is named.
_ON_THE_WEB = re.compile(r"\b(?:s3|gs|az|hf)://")


def unreachable(what: str, reason: str, hint: str = "") -> UnreachableError:
    """The error for a connection that cannot be made.

    Args:
        what: the operation and its object; the message begins with it.
        reason: why, as far as it is known.
        hint: what to do, if the service itself is asked.
    """
    proxy = _asked_proxy(what)
    if proxy is None:
        return UnreachableError(f"{what}: {reason}{hint}")
    return UnreachableError(
        f"{what}: the proxy {proxy.address} cannot be reached: {reason}; check the variables of "
        "the proxy, or name the host in NO_PROXY"
    )


def _asked_proxy(what: str) -> proxies.Proxy | None:
    """The proxy of the last address that an operation names."""
    if not proxies.any_named():
        return None
    addresses = _ADDRESS.findall(what)
    if not addresses and not _ON_THE_WEB.search(what):
        return None
    try:
        # No entry of NO_PROXY names the second one, but that for all hosts.
        return proxies.proxy_for(addresses[-1] if addresses else "https://kaiwo.invalid")
    except (ConfigError, ValueError):
        return None
