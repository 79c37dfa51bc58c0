"""Who waits for news of a block."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

from kaiwo.replicas.blocks import Block


class News:
    """Calls that wait, each for one block. Used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[Block, list[Callable[[], object]]] = defaultdict(list)

    def wait(self, block: Block, call: Callable[[], object]) -> None:
        """Call this once, when there is news of the block."""
        with self._lock:
            self._waiting[block].append(call)

    def forget(self, block: Block, call: Callable[[], object]) -> None:
        """Do not call it any more."""
        with self._lock:
            if call in (waiting := self._waiting.get(block, [])):
                waiting.remove(call)
            if not waiting:
                self._waiting.pop(block, None)

    def tell(self, block: Block) -> None:
        """There is news of this one."""
        with self._lock:
            calls = self._waiting.pop(block, [])
        for call in calls:
            call()

    def tell_all(self, number: int | None = None) -> None:
        """There is news of the blocks of that object; None: of all."""
        with self._lock:
            blocks = [each for each in self._waiting if number is None or each.number == number]
        for block in blocks:
            self.tell(block)
