"""A cheap way to ask a store about an object, which may fail: then the fsspec source asks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from kaiwo.objects import RemoteObject

logger = logging.getLogger(__name__)


class Look(Protocol):
    """Asks; may end with any exception."""

    def __call__(self, key: str) -> RemoteObject:
        """What the store states of an object."""

    def pin(self, key: str) -> RemoteObject:
        """The same with its version."""

    def close(self) -> None:
        """Give connections back."""


def looked(look: Callable[[str], RemoteObject], key: str, url: str) -> RemoteObject | None:
    """What it says; None if it fails: the fsspec source succeeds then, or says what is wrong."""
    try:
        return look(key)
    except Exception as error:
        logger.debug("%s: %s, asking through fsspec", url, type(error))
        return None
