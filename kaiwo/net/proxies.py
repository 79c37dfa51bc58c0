"""The proxy that the environment names for an address.

``http_proxy``, ``https_proxy``, ``all_proxy``, ``no_proxy``, in small or capital letters.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from msgspec import Struct

from kaiwo.errors import ConfigError
from kaiwo.net.headers import basic_authorization


class Proxy(Struct, frozen=True):
    """A proxy.

    Attributes:
        address: scheme, host and port, without user info.
        authorization: the value of ``Proxy-Authorization``, or None.
    """

    address: str
    authorization: str | None


def proxy_for(address: str) -> Proxy | None:
    """The proxy that the environment names for an address.

    Raises:
        ConfigError: it cannot be used.
    """
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - slow to load

    parts = urlsplit(address)
    proxies = getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    try:
        return parse(named)
    except ValueError:  # the address may hold a password
        raise ConfigError(
            "the environment's proxy (http_proxy, https_proxy, all_proxy) cannot be used; "
            "give one that begins with http://"
        ) from None


def parse(named: str) -> Proxy:
    """The proxy of an address.

    Raises:
        ValueError: the address is not that of a proxy.
    """
    address = named if "://" in named else f"http://{named}"
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname or parts.port == 0:
        raise ValueError
    server = parts.netloc.rpartition("@")[2]
    return Proxy(f"http://{server}", basic_authorization(address))
