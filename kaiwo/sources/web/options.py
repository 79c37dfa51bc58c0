"""The options of a web source, named as those of fsspec's http filesystem and of its aiohttp.

    headers, cookies, auth, params         for the server of the URL only
    proxy, proxy_auth, proxy_headers       instead of the environment's proxy; of the headers,
                                           Proxy-Authorization
    ssl                                    true, false (nothing is verified), an SSL context
    timeout                                how long a server may be silent, and a connection take
    client_kwargs                          headers, cookies, auth, proxy, proxy_auth, timeout and
                                           trust_env (false: neither proxy nor netrc of the
                                           environment)

Options of the filesystem's own reading (``block_size``, ``cache_type``) change nothing, because
kaiwo reads by itself: a warning says so. All others are errors.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.errors import ConfigError
from kaiwo.net import certificates, proxies
from kaiwo.net.certificates import ClientFiles
from kaiwo.net.headers import basic
from kaiwo.net.proxies import Proxy
from kaiwo.net.settings import NetworkSettings

logger = logging.getLogger(__name__)
#: Of the filesystem, or fixed by kaiwo.
_WITHOUT_EFFECT = {
    "allow_redirects", "asynchronous", "batch_size", "block_size", "cache_options", "cache_type",
    "encoded", "listings_expiry_time", "loop", "max_paths", "raise_for_status", "same_scheme",
    "simple_links", "size_policy", "skip_instance_cache", "use_listings_cache",
}  # fmt: skip
#: Of requests and of the session; the request's count more.
_OF_BOTH = {"auth", "cookies", "headers", "proxy", "proxy_auth", "timeout"}
_OF_REQUEST = {*_OF_BOTH, "client_kwargs", "params", "proxy_headers", "ssl"}
_OF_SESSION = {*_OF_BOTH, "trust_env"}


class WebOptions(Struct, frozen=True):
    """What the options of a web source mean.

    Attributes:
        headers: for the server of the URL only.
        query: for the same, at the end of each address.
        proxy: of all requests; None: see ``trusts_environment``.
        trusts_environment: its proxies and its netrc count.
        trust: how TLS is spoken.
        network: timeouts.
        without_effect: options that change nothing.
    """

    headers: Mapping[str, str]
    query: str
    proxy: Proxy | None
    trusts_environment: bool
    trust: ssl.SSLContext
    network: NetworkSettings
    without_effect: Sequence[str] = ()

    def __repr__(self) -> str:
        """Without the values of headers, and without the query."""
        return f"WebOptions({[*self.headers]}, {self.proxy!r})"


def parse(
    options: Mapping[str, Any],
    network: NetworkSettings,
    ca_bundle: str | None,
    client: ClientFiles = (None, None),
) -> WebOptions:
    """What these options mean.

    Args:
        options: as the user gave them.
        network: timeouts of the run.
        ca_bundle: path of the certificates to trust, or None for the environment's.
        client: the certificate that the client shows, and its key.

    Raises:
        ConfigError: one is unknown, or its value is not possible.
    """
    session = _mapping(options, "client_kwargs")
    _refuse_unknown(options, _OF_REQUEST | _WITHOUT_EFFECT, "")
    _refuse_unknown(session, _OF_SESSION, "client_kwargs.")
    both = {**session, **{name: value for name, value in options.items() if value is not None}}
    headers = _headers(_mapping(session, "headers"), "client_kwargs.headers")
    headers = _merged(headers, _headers(_mapping(options, "headers"), "headers"))
    if cookies := {**_mapping(session, "cookies"), **_mapping(options, "cookies")}:
        pairs = "; ".join(
            f"{_text(name, 'cookies')}={_text(cookies[name], 'cookies')}" for name in cookies
        )
        headers = _merged(headers, {"Cookie": pairs})
    if (auth := both.get("auth")) is not None:
        headers = _merged(headers, {"Authorization": _basic(auth, "auth")})
    trusts = session.get("trust_env", True)
    return WebOptions(
        headers,
        _query(options.get("params")),
        _proxy(both),
        _require(bool, trusts, "client_kwargs.trust_env"),
        _trust(options.get("ssl", True), ca_bundle, client),
        _network(both.get("timeout"), network),
        sorted(_WITHOUT_EFFECT & options.keys()),
    )


def _refuse_unknown(given: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(f"{where}{name}" for name in given if name not in known)
    if unknown:
        names = ", ".join(sorted(known - _WITHOUT_EFFECT))
        raise ConfigError(
            f"options: {', '.join(unknown)} is not known for http and https; known are "
            f"{where}{names}"
        )


def _require(kind: type[Any], value: Any, name: str) -> Any:
    if not isinstance(value, kind):
        words = {bool: "true or false", dict: "a mapping", str: "a string"}[kind]
        raise ConfigError(f"options: {name} must be {words}")
    return value


def _mapping(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = options.get(name)
    return {} if value is None else dict(_require(dict, value, name))


def _text(value: Any, name: str) -> str:
    """A value that a header can hold: as UTF-8, one character for each byte."""
    text: str = _require(str, value, name)
    if any(ord(letter) < ord(" ") or ord(letter) == 127 for letter in text.replace("\t", "")):  # noqa: PLR2004 - delete
        raise ConfigError(f"options: {name} contains a line break or another control character")
    return text.encode().decode("latin-1")


def _headers(given: Mapping[str, Any], name: str) -> Mapping[str, str]:
    for each in given:
        if not isinstance(each, str) or not each.isascii() or not each.replace("-", "").strip():
            raise ConfigError(f"options: {name} has a name that no header has")
    return {each: _text(value, name) for each, value in given.items()}


def _merged(one: Mapping[str, str], other: Mapping[str, str]) -> Mapping[str, str]:
    """Both; of two headers with one name in any case, the other's."""
    names = {name.lower() for name in other}
    return {**{name: one[name] for name in one if name.lower() not in names}, **other}


def _basic(auth: Any, name: str) -> str:
    """The header of a user and a password, such as aiohttp's ``BasicAuth``."""
    if not isinstance(auth, list | tuple) or len(auth) not in (2, 3):
        raise ConfigError(f"options: {name} must be a list of user and password")
    user, password = (_require(str, each, name) for each in auth[:2])
    return basic(user, password)


def _query(params: Any) -> str:
    if params is None:
        return ""
    if isinstance(params, str):
        return quote(params, safe="%/:=&?~+!$,;'@()*[]")
    try:
        pairs = params if isinstance(params, dict) else [(name, value) for name, value in params]
        return urlencode(pairs, doseq=True, quote_via=quote)
    except (TypeError, ValueError):
        raise ConfigError("options: params must be a mapping or a string") from None


def _proxy(options: Mapping[str, Any]) -> Proxy | None:
    named = options.get("proxy")
    if named is None:
        return None
    proxy = proxies.parse("options: proxy", str(named))
    for name, value in _headers(_mapping(options, "proxy_headers"), "proxy_headers").items():
        if name.lower() != "proxy-authorization":
            raise ConfigError("options: of proxy_headers, only Proxy-Authorization is known")
        proxy = replace(proxy, authorization=value)
    if (auth := options.get("proxy_auth")) is not None:
        proxy = replace(proxy, authorization=_basic(auth, "proxy_auth"))
    return proxy


def _trust(given: Any, ca_bundle: str | None, client: ClientFiles) -> ssl.SSLContext:
    if isinstance(given, ssl.SSLContext):
        return given
    if not isinstance(given, bool):
        raise ConfigError("options: ssl must be true or false")
    if given:
        return certificates.context(ca_bundle, *client)
    logger.warning("options: ssl: false: the certificates of servers are not verified")
    trust = certificates.separate_context(ca_bundle, *client)
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    return trust


def _network(given: Any, network: NetworkSettings) -> NetworkSettings:
    """The timeouts of the run, or shorter ones.

    Args:
        given: seconds, a mapping, or aiohttp's ``ClientTimeout``.
        network: of the run.
    """
    if given is None:
        return network

    def seconds(*names: str) -> float | None:
        found = [
            given.get(name) if isinstance(given, dict) else getattr(given, name, None)
            for name in names
        ]
        if isinstance(given, int | float) and not isinstance(given, bool):
            found = [given]
        numbers = [each for each in found if each is not None]
        for each in numbers:
            if isinstance(each, bool) or not isinstance(each, int | float) or not each > 0:
                raise ConfigError("options: timeout must be seconds, above 0")
        return min(numbers, default=None)

    is_known = isinstance(given, int | float | dict) or hasattr(given, "sock_read")
    if not is_known or isinstance(given, bool):
        raise ConfigError("options: timeout must be seconds, or a mapping of them")
    connect_s, read_s = seconds("connect", "sock_connect", "total"), seconds("sock_read", "total")
    return replace(
        network,
        connect_timeout_s=min(connect_s or network.connect_timeout_s, network.connect_timeout_s),
        stall_timeout_s=min(read_s or network.stall_timeout_s, network.stall_timeout_s),
    )
