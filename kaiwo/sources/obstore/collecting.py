"""How many bytes a stream of obstore collects before it gives them; it loses them when it fails.

That is what the last streams of the store brought in a sixteenth of a second: over TLS, a body
comes in 16 KiB, and each chunk costs a change of thread. The first stream shows whether a store is
fast. Those that begin with it wait for that, a moment, while their bytes wait in buffers of the
system.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from kaiwo.protocols import Buffer

#: Bytes that a stream collects: at first, at least and at most.
_FIRST, _LEAST, _MOST = 1 << 14, 1 << 12, 1 << 19
_COLLECT_S = 1 / 16
#: A store is fast whose first stream brings ``_MOST`` bytes, or its end, while others wait.
_WAIT_S = 0.1


class Collecting:
    """How much the streams of one store collect."""

    def __init__(self) -> None:
        self._bytes = _FIRST
        self._first = threading.Lock()
        self._is_fast = threading.Event()
        self._waits = True

    def next_bytes(self) -> int:
        """How many bytes the stream collects that begins now."""
        if self._first.acquire(blocking=False):
            return _FIRST
        if self._waits and not self._is_fast.wait(_WAIT_S):
            self._waits = False
            return _FIRST
        return self._bytes

    def measuring(self, size: int) -> Callable[[Buffer], Buffer]:
        """Gives back the chunks of one stream, and measures: later streams collect as they come.

        Args:
            size: of the stream, in bytes.
        """
        start_s, came = time.monotonic(), 0

        def measured(chunk: Buffer) -> Buffer:
            nonlocal came
            came += len(chunk)
            passed_s = time.monotonic() - start_s
            self._bytes = int(min(max(came / max(passed_s, 1e-3) * _COLLECT_S, _LEAST), _MOST))
            if came >= min(size, _MOST):
                self._is_fast.set()
            return chunk

        return measured
