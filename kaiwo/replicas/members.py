"""Which nodes there are, as far as this one knows.

owners    the nodes that were there at the start, while any of them lives; then all
avoided   a node that did not answer, or that has not brought its blocks: for a while
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from kaiwo.replicas.blocks import Block, ranked

#: A node that does not answer is not asked for so long; at most, where that repeats.
AVOIDED_S, LONGEST_S = 5.0, 300.0
logger = logging.getLogger(__name__)


class Members:
    """The nodes of a run. Used by many threads.

    Args:
        own: the address of this node.
        first: those that were there at the start.
        clock: monotonic seconds.
    """

    def __init__(
        self, own: str, first: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.own = own
        self._first = tuple(first)
        self._clock = clock
        self._lock = threading.Lock()
        self._living = frozenset(first) | {own}
        self._avoided: dict[str, tuple[float, float]] = {}

    def learn(self, living: Iterable[str]) -> None:
        """These are in the cluster now."""
        with self._lock:
            self._living = frozenset(living) | {self.own}

    def lives(self, node: str) -> bool:
        """Whether that one is in the cluster, as far as is known."""
        with self._lock:
            return node in self._living

    def avoid(self, node: str, why: str) -> None:
        """Do not ask that one for a while: longer each time."""
        with self._lock:
            until_s, length_s = self._avoided.get(node, (0.0, AVOIDED_S / 2))
            now_s = self._clock()
            if until_s > now_s:
                return
            length_s = min(2 * length_s, LONGEST_S)
            self._avoided[node] = now_s + length_s, length_s
        logger.info("%s is not asked for %.0f s: %s", node, length_s, why)

    def owners(self, block: Block) -> list[str]:
        """Who is to have a block: the owner, then who has it when that one is gone."""
        first = [each for each in self._first if self._is_asked(each)]
        return ranked(block, first or filter(self._is_asked, self._living))

    def others(self) -> list[str]:
        """The other nodes, as far as they answer."""
        return [each for each in self._living if each != self.own and self._is_asked(each)]

    def is_first_owner(self, block: Block) -> bool:
        """Whether nobody but this node has ever owned the block."""
        return bool(self._first) and ranked(block, self._first)[0] == self.own

    def _is_asked(self, node: str) -> bool:
        with self._lock:
            is_avoided = self._avoided.get(node, (0.0,))[0] > self._clock()
            return node in self._living and (node == self.own or not is_avoided)
