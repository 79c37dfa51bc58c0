"""The proxies that the environment names: read here once, for all engines and SDKs.

    which variable  ``https_proxy`` or ``http_proxy``, by the scheme of the address; else
                    ``all_proxy``
    which case      lower case first, as in Python and most tools: an empty ``http_proxy`` switches
                    ``HTTP_PROXY`` off. In a CGI program (``REQUEST_METHOD`` is set), a client's
                    header can set ``HTTP_PROXY``, which is ignored there
    what it holds   ``http://`` or ``https://`` (the proxy itself is asked by TLS), with user and
                    password; ``host:port`` means ``http://``
    ``no_proxy``    entries between commas or spaces; the proxy is not asked for these hosts:

        example.org, .example.org, *.example.org    the host and all hosts below it
        example.org:8443, 10.0.0.1:80, [::1]:80     this port alone
        10.0.0.1, ::1, [::1]                        an address, in any of its spellings
        10.0.0.0/8, fd00::/8                        a network; names are not resolved
        *                                           every host

A proxy is chosen for each host. What sends its requests itself, or takes a proxy, gets the answer
for the host that it asks. Some SDKs ask the environment alone, for tokens most of all.
``canonical`` says what the environment must hold so that they find the same answers.

See docs/decisions/0045.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from msgspec import Struct

from kaiwo.errors import ConfigError
from kaiwo.net.headers import basic_authorization
from kaiwo.net.redirects import DEFAULT_PORTS

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

#: Names that may be set; lower case has precedence.
_SCHEMES = ("https", "http")
#: An IPv4 or IPv6 address, or a network: anything else is a name.
_NUMBERS = re.compile(r"[0-9.]+|\[?[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]?")
#: What a host can be; the rest is a mistake in the setting, such as quotes or spaces.
_HOST = re.compile(r"[^\s\x00-\x20\"'<>()\\^`{|},;]+")
#: Where clouds give tokens to their machines: SDKs ask these by the environment's rules.
_METADATA = ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23")


class Proxy(Struct, frozen=True):
    """A proxy.

    Attributes:
        address: ``scheme://host:port``, without user info.
        authorization: the value of its header ``Proxy-Authorization``; None without user info.
    """

    address: str
    authorization: str | None

    @property
    def url(self) -> str:
        """The address with user info, of which SDKs make the header; a secret."""
        if self.authorization is None:
            return self.address
        user, _, password = base64.b64decode(self.authorization.split()[1]).decode().partition(":")
        scheme, _, host = self.address.partition("://")
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}"

    def __repr__(self) -> str:
        """Without the password."""
        return f"Proxy({self.address!r})"


def proxy_for(address: str) -> Proxy | None:
    """The proxy to ask for a web address; None to ask its host.

    Raises:
        ConfigError: the environment names a proxy that cannot be used.
    """
    parts = urlsplit(address)
    name, value = _setting(parts.scheme)
    if not value:
        return None
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    if _is_excepted((parts.hostname or "").rstrip("."), port):
        return None
    return parse(name, value)


def url_for(address: str) -> str | None:
    """The same as a URL with user info, as SDKs take it; a secret."""
    proxy = proxy_for(address)
    return None if proxy is None else proxy.url


def any_named() -> bool:
    """Whether the environment names a proxy at all."""
    return any(_setting(scheme)[1] for scheme in _SCHEMES)


def exceptions() -> str:
    """The entries of ``no_proxy`` that concern all ports, between commas."""
    return ",".join(entry for entry in _entries() if entry and not _port_of(entry)[1])


def canonical() -> dict[str, str]:
    """The variables that must be set so that libraries which read them find the same answers.

    Most libraries do not know ``all_proxy``, and some neither ``host:port`` nor networks.
    """
    changes: dict[str, str] = {}
    for scheme in _SCHEMES:
        name, value = _setting(scheme)
        try:
            proxy = parse(name, value).url if value else ""
        except ConfigError:
            continue  # it concerns who asks that proxy
        is_as_given = value.rstrip("/") == proxy and not name.lower().startswith("all")
        if proxy and not is_as_given:
            changes[f"{scheme}_proxy"] = proxy
    if any_named():
        entries = _entries()
        numbers = [each for each in _METADATA if each not in entries and _is_excepted(each, 80)]
        if numbers and "*" not in entries:
            changes |= dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join((*entries, *numbers)))
    return changes


def parse(name: str, value: str) -> Proxy:
    """The proxy that a setting names.

    Args:
        name: of the setting, for the error.
        value: an address with or without scheme; it may hold user and password.

    Raises:
        ConfigError: it cannot be used.
    """
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    is_host = host is not None and _HOST.fullmatch(host) is not None
    if (
        scheme not in _SCHEMES or not is_host or host is None or port == 0
    ):  # the address may hold a password
        raise ConfigError(
            f"{name} names a proxy that cannot be used; give one that begins with http:// or "
            "https://"
        )
    host = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{host}:{port or DEFAULT_PORTS[scheme]}"
    return Proxy(address, basic_authorization(parts.geturl()))


def _variable(name: str) -> tuple[str, str]:
    """The name in the case that counts, and the value."""
    if name in os.environ:
        return name, os.environ[name].strip()
    upper = name.upper()
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ:
        return upper, ""
    return upper, os.environ.get(upper, "").strip()


def _setting(scheme: str) -> tuple[str, str]:
    """The variable that counts for a scheme, and its value; empty if there is none."""
    of_scheme = _variable(f"{scheme}_proxy")
    return of_scheme if of_scheme[1] else _variable("all_proxy")


def _entries() -> list[str]:
    return re.split(r"[\s,]+", _variable("no_proxy")[1].lower().strip(" ,"))


def _is_excepted(host: str, port: int) -> bool:
    """Whether ``no_proxy`` names a host."""
    number = _number(host)
    return any(_concerns(entry, host.lower(), number, port) for entry in _entries() if entry)


def _concerns(entry: str, host: str, number: IPv4Address | IPv6Address | None, port: int) -> bool:
    if entry == "*":
        return True
    name, only = _port_of(entry)
    if only and only != str(port):
        return False
    if number is not None:
        return number == _number(name) or _holds(name, number)
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _port_of(entry: str) -> tuple[str, str]:
    """An entry without its port, and the port; empty if it names none."""
    name, colon, port = entry.rpartition(":")
    if not colon or not port.isdecimal() or (":" in name and not name.endswith("]")):
        return entry, ""  # a lonely IPv6 address may end like a port
    return name, port


def _number(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is; None for a name."""
    host = host.partition("%")[0].strip("[]")
    if not _NUMBERS.fullmatch(host):
        return None
    from ipaddress import IPv6Address, ip_address  # noqa: PLC0415 - most hosts have names

    try:
        found = ip_address(host)
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _holds(entry: str, number: IPv4Address | IPv6Address) -> bool:
    """Whether an entry is a network with this address."""
    if "/" not in entry:
        return False
    from ipaddress import ip_network  # noqa: PLC0415 - as above

    try:
        return number in ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False
