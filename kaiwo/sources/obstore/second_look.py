"""Looks through the fsspec source for an object that obstore does not find as it was planned."""

from __future__ import annotations

from collections.abc import Callable

from kaiwo.errors import KaiwoError, NotFoundError, PlaceholderError
from kaiwo.objects import RemoteObject, same_bytes
from kaiwo.protocols import Source


def is_unchanged(fallback: Source, remote: RemoteObject, display_url: Callable[[str], str]) -> bool:
    """Whether the fsspec source finds the object as it was planned.

    Raises:
        PlaceholderError: it does not find it, and finds a placeholder of that name.
    """
    try:
        return same_bytes(fallback.stat(remote.key), remote) is not False
    except NotFoundError:
        # Not before: some services find ``a`` under the name of ``a/``, too.
        _refuse_placeholder(fallback, remote, display_url)
    except KaiwoError:
        pass
    return False


def _refuse_placeholder(
    fallback: Source, remote: RemoteObject, display_url: Callable[[str], str]
) -> None:
    """Raise PlaceholderError if ``a`` was listed for ``a/``, a placeholder that holds bytes."""
    folder = f"{remote.key}/"
    try:
        found = fallback.stat(folder)
    except KaiwoError:
        return
    # The listing may state another etag or another size than the look-up.
    is_of_then = found.modified_ns is not None and found.modified_ns == remote.modified_ns
    if is_of_then or same_bytes(found, remote) is not False:
        raise PlaceholderError(f"{display_url(folder)}: a folder's placeholder, left out")
