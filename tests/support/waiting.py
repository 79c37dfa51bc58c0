"""Waiting for a condition, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_PAUSE_S = 0.01


def wait_until(
    condition: Callable[[], object],
    reason: str = "the condition did not come true",
    most_s: float = 30.0,
) -> None:
    """Return as soon as the condition is true; the test fails after this many seconds."""
    deadline_s = time.monotonic() + most_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline_s, reason
        pause.wait(_PAUSE_S)
