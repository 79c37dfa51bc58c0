"""A store of obstore, told everything that it would otherwise take from the environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from obstore.exceptions import BaseError

from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.base import NotForObstoreError

#: Variables that obstore reads, and fails on, whatever it is told; Google's own clients do not.
_STRAY = tuple(
    f"{prefix}SERVICE_ACCOUNT{suffix}"
    for prefix in ("", "GOOGLE_")
    for suffix in ("", "_KEY", "_PATH")
)


class Provider:
    """Gives obstore its credentials, whatever the environment holds.

    An error on the way is kept: obstore passes on nothing but its text.

    Args:
        give: the credentials, in the form that the store takes, and with ``expires_at``.
    """

    def __init__(self, give: Callable[[], Mapping[str, Any]]) -> None:
        self._give = give
        self.error: Exception | None = None

    def __call__(self) -> Mapping[str, Any]:
        """Called by obstore when it has none, or when they expire."""
        try:
            given = self._give()
        except Exception as error:
            self.error = error
            raise
        self.error = None
        return given


def connect(
    kind: Callable[..., Any],
    container: str,
    config: Mapping[str, Any],
    provider: Provider | None,
    network: NetworkSettings,
    ca_bundle: str | None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """A store of obstore that repeats nothing.

    Args:
        kind: class of the store.
        container: bucket or container.
        config: everything that obstore would otherwise take from the environment.
        provider: of credentials; None for anonymous requests.
        network: timeouts.
        ca_bundle: path of certificates to trust, or None for the system's.
        headers: of every request.

    Raises:
        NotForObstoreError: obstore does not take these settings.
    """
    options: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=network.connect_timeout_s),
        "read_timeout": timedelta(seconds=network.stall_timeout_s),
        # Of a whole request, however long its body is: only a stall is an error.
        "timeout": timedelta(days=7),
        "user_agent": "kaiwo",
        "default_headers": dict(headers or {}),
    }
    if ca_bundle is not None:
        try:
            options["root_certificate"] = Path(ca_bundle).read_bytes()
        except OSError as error:
            raise NotForObstoreError("the ca_bundle cannot be read") from error
    try:
        with _hidden(_STRAY):
            return kind(
                container,
                config={**config, "skip_signature": provider is None},
                # Without one, some stores look for credentials even if they are told to send none.
                credential_provider=provider or dict,
                client_options=options,
                retry_config={"max_retries": 0},
            )
    except (BaseError, ValueError) as error:
        raise NotForObstoreError("it does not take these settings") from error


@contextlib.contextmanager
def _hidden(names: Iterable[str]) -> Iterator[None]:
    """Take variables out of the environment for a moment."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)
