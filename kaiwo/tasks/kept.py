"""What a task finds once in each process, and its buckets share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Kept:
    """Keeps one finding, for the secrets that it was found with. Thread-safe.

    It does not travel: another process finds its own. Two of them are equal, as their tasks are.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: tuple[bytes, Any] | None = None

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept)

    __hash__ = None  # type: ignore[assignment]

    def get(self, secrets_digest: bytes, find: Callable[[], Any]) -> Any:
        """What is kept, found anew where the secrets have changed."""
        with self._lock:
            if self._found is None or self._found[0] != secrets_digest:
                self._found = secrets_digest, find()
            return self._found[1]
