"""What is in place and not remembered yet: to write it down costs as much as ten small objects.

A run that is killed now would have to look at these files again. So they are few, and not old.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from kaiwo.jobs import Batch, Job, Outcome
from kaiwo.state.state import State

#: At most this number of small objects is in place, and not remembered yet, ...
MOST_UNREMEMBERED = 64
#: ... where results come without a pause, for this time; else until the next tick.
UNREMEMBERED_S = 0.1


class Unremembered:
    """The objects of one run.

    Args:
        state: remembers them.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._outcomes: list[Outcome] = []
        self._remembered_s = 0.0

    def add(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """A job has ended; remember its objects if they are large, or many."""
        self._outcomes += [each for each in outcomes if _is_in_place(each)]
        # The journal of a large object must not end before.
        if not isinstance(job, Batch) or len(self._outcomes) >= MOST_UNREMEMBERED:
            self.remember()

    def remember(self) -> None:
        """Remember all of them."""
        if self._outcomes:
            self._state.remember(self._outcomes)
            self._outcomes = []  # not before: an interrupt may come meanwhile
            self._remembered_s = time.monotonic()

    def remember_soon(self) -> None:
        """No result waits: remember them if the last time is a while ago."""
        if time.monotonic() - self._remembered_s >= UNREMEMBERED_S:
            self.remember()


def _is_in_place(outcome: Outcome) -> bool:
    """Whether its object is; what has the item's checksum may be another one's."""
    return outcome.published or (outcome.adopted and outcome.transfer.required is None)
