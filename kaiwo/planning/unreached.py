"""Services that cannot be reached hold up nobody: when a run goes on without them for now."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from kaiwo.workers.list_objects import Found


class Unreached:
    """Services that cannot be reached yet, and whether the rest of the run goes on without them.

    Args:
        patience_s: see ``gather``.

    Attributes:
        are_left: it does.
    """

    def __init__(self, patience_s: float | None) -> None:
        self._until_s = math.inf if patience_s is None else time.monotonic() + patience_s
        self._services: set[str] = set()
        self._is_anything_there = False
        self.are_left = False

    def failed(self, service: str) -> None:
        """It cannot be reached, and has never answered."""
        self._services.add(service)

    def answered(self, service: str, found: Found) -> None:
        """It can."""
        self._services.discard(service)
        self._is_anything_there = self._is_anything_there or bool(found.objects)

    def are_to_be_left(self, missing: Iterable[str]) -> bool:
        """Whether it is time to go on without them; ``missing`` are services still to be listed."""
        is_time = self._is_anything_there and time.monotonic() >= self._until_s
        if self.are_left or not (is_time and self._services):
            return False
        services = set(missing)
        self.are_left = bool(services) and services <= self._services
        return self.are_left
