"""A store of obstore that takes nothing from the environment.

obstore mixes its settings with the environment. So each store is given everything explicitly:

- the address, by the name that comes first in obstore's order (``aws_endpoint_url_s3``);
- region, addressing style, ``skip_signature``;
- credentials by a callback, which overrides all credentials in the environment. Even anonymous
  requests get a callback, because some stores look for credentials without one;
- for Google, the variables of service accounts do not exist during a run (``environment.py``):
  obstore reads them, and fails on them, also when other credentials are given.

Encryption keys of the environment (``AWS_SSE_*``, ``AWS_SERVER_SIDE_ENCRYPTION``) cannot be
overridden. With those set, S3 goes through fsspec (see ``kaiwo/tasks/s3_settings.py``).

obstore's threads do not live on in a forked child, and a call there would wait for them forever. So
the child of a process that has loaded obstore gets no store.

The proxy is that for the store's endpoint. obstore asks no other host for credentials, since these
come from the callback. For the host of a redirect it reads ``no_proxy`` itself, without ports.

obstore follows redirects, and its client takes but the header ``Authorization`` off a request to
another host: a session token stays, and a signature that is part of an address is told as
``Referer``. Requests with such credentials stay at the host of the endpoint (``stays``): for all
other hosts there is a proxy at port 0, where nobody can listen. The fsspec source follows such
redirects, without credentials. An exception from a proxy has no port, and holds for the names below
a name: these are not kept apart from the endpoint's host.

obstore repeats nothing: ``max_retries`` is 0. The timeout of a whole request is seven days, since
only a stall is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError

from kaiwo import environment, redact
from kaiwo.errors import ConfigError
from kaiwo.net import certificates, proxies
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.identity import Identity
from kaiwo.sources.translation import NotForObstoreError

#: Every host, in obstore's form: a star stands for names alone.
_ALL = "*,0.0.0.0/0,::/0"
#: A proxy that nobody can be: nothing listens at port 0. ``errors`` knows it.
_NOWHERE = "http://0.0.0.0:0"
#: The process that loaded obstore.
_LOADED_BY = os.getpid()


class Provider:
    """Gives obstore its credentials, instead of those in the environment.

    Args:
        give: gives the credentials in the form that the store takes, with ``expires_at``.
        identity: whose tokens they are, if they are tokens that can be replaced.

    Attributes:
        error: the last failure of ``give``; obstore passes on its text only. It stays: other
            requests may sign in before it is known which one failed.
    """

    def __init__(
        self, give: Callable[[], Mapping[str, Any]], identity: Identity | None = None
    ) -> None:
        self._give = give
        self.identity = identity
        self.error: Exception | None = None

    def __call__(self) -> Mapping[str, Any]:
        """Called by obstore when it has no credentials, or when they expire."""
        try:
            with redact.marked():  # a thread of obstore's
                given = self._give()
        except Exception as error:
            self.error = error
            raise
        return given


def connect(
    kind: Callable[..., Any],
    container: str,
    config: Mapping[str, Any],
    provider: Provider | None,
    network: NetworkSettings,
    ca_bundle: str | None,
    headers: Mapping[str, str] | None = None,
    *,
    stays: bool = False,
) -> Any:
    """A store of obstore that repeats nothing.

    Args:
        kind: class of the store.
        container: bucket or container.
        config: all settings that obstore would otherwise take from the environment.
        provider: of credentials; None for anonymous requests.
        network: timeouts.
        ca_bundle: path of certificates to trust, or None for the environment's.
        headers: of every request.
        stays: a redirect to another host is not followed, since it would show credentials there.

    Raises:
        ConfigError: the environment's proxy cannot be used.
        NotForObstoreError: obstore does not take these settings, or does not work in this process.
    """
    if os.getpid() != _LOADED_BY:
        raise NotForObstoreError(
            "it does not work in a process that was forked from one that has loaded it; use engine "
            "auto or fsspec here, or start the process with spawn"
        )
    options: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=network.connect_timeout_s),
        "read_timeout": timedelta(seconds=network.stall_timeout_s),
        # For a whole request, with a body of any size: only a stall is an error.
        "timeout": timedelta(days=7),
        "user_agent": "kaiwo",
        "default_headers": dict(headers or {}),
        "allow_invalid_certificates": False,
    }
    endpoint = str(config.get("endpoint") or config["base_url"])
    options |= _trusted(ca_bundle) | _proxied(endpoint, stays=stays)
    try:
        return kind(
            container,
            config={**config, "skip_signature": provider is None},
            # Without a callback, some stores look for credentials even with skip_signature.
            credential_provider=provider or dict,
            client_options=options,
            retry_config={"max_retries": 0},
        )
    except (BaseError, ValueError) as error:
        named = environment.missing_file(environment.TRUST)
        raise NotForObstoreError(named or "obstore refuses these settings") from error


def _trusted(ca_bundle: str | None) -> dict[str, Any]:
    """The option for trusted certificates; obstore adds these to the system's."""
    try:
        trusted = certificates.pem(ca_bundle)
    except ConfigError as error:
        raise NotForObstoreError(error.message) from error
    return {} if trusted is None else {"root_certificate": trusted}


def _proxied(endpoint: str, *, stays: bool) -> dict[str, Any]:
    """The options for the proxy; with them, obstore does not read the environment's."""
    proxy = proxies.url_for(endpoint)
    if proxy is not None and stays:
        raise NotForObstoreError("behind a proxy, obstore would show credentials to other hosts")
    if stays:
        return {"proxy_url": _NOWHERE, "proxy_excludes": urlsplit(endpoint).hostname}
    if proxy is not None:
        return {"proxy_url": proxy, "proxy_excludes": proxies.exceptions()}
    # Only a proxy that is given switches the environment's off; this one is never asked.
    no_proxy = {"proxy_url": "http://localhost", "proxy_excludes": _ALL}
    return no_proxy if proxies.any_named() else {}
