"""Services that see how many requests about listings and objects they have at once."""

from __future__ import annotations

import threading

from tests.support.proxies import Answer, refused

#: A client that never has the wanted number at once is answered after this time.
PATIENCE_S = 60.0


class AtOnce:
    """Counts the answers that are held back at the same time; a ``Spoil``.

    Args:
        wanted: after the first answers, each is held back until that many are at the same time.
        free: this number of first answers is not held back.

    Attributes:
        most: that were held back at once, of those that count.
        answers: in all.
    """

    def __init__(self, wanted: int, free: int = 0) -> None:
        self.most = self.answers = self._held = 0
        self._wanted, self._free = wanted, free
        self._changed = threading.Condition()

    def __call__(self, method: str, path: str, answer: Answer) -> Answer:  # noqa: ARG002
        with self._changed:
            self.answers += 1
            if self.answers <= self._free:
                return answer
            self._held += 1
            self.most = max(self.most, self._held)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._wanted, PATIENCE_S)
            self._held -= 1
        return answer


class Serves:
    """Serves at most this number of requests at once, and refuses the others; a ``Spoil``.

    Each answer is held back until the client has met a refusal, and so that it can.

    Args:
        most: how many are served at once.
        refusals: after this number of refusals answers are not held back any more.

    Attributes:
        refused: how many requests were refused.
    """

    def __init__(self, most: int, refusals: int) -> None:
        self.refused = self._served = 0
        self._most, self._refusals = most, refusals
        self._changed = threading.Condition()

    def __call__(self, method: str, path: str, answer: Answer) -> Answer:  # noqa: ARG002
        with self._changed:
            if self._served >= self._most:
                self.refused += 1
                self._changed.notify_all()
                return refused(503, "SlowDown")
            self._served += 1
            self._changed.wait_for(lambda: self.refused >= self._refusals, PATIENCE_S)
            self._served -= 1
        return answer
