"""How far ranges are written, for a later run: the journal gets a line now and then.

a range is complete, or failed       at once
it has grown by what may be lost     at once
it has grown at all                  once a second
"""

from __future__ import annotations

import time

from kaiwo.engine.lines import LONGEST_PIECE
from kaiwo.jobs import Crc, Mark, Outcome, Progress, Range
from kaiwo.state.state import State

#: A range that grows is noted this often.
EVERY_S = 1.0


class Marks:
    """The marks of ranges that are under way.

    Args:
        state: has the journals.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        #: How far each range is noted, and when that was; by index, round and start.
        self._noted: dict[tuple[int, int, int], tuple[int, float]] = {}

    def reach(self, progress: Progress, mark: Mark, most: int) -> None:
        """A range has grown up to the mark; ``most`` bytes may be lost."""
        transfer, start = progress.transfer, progress.start
        key = transfer.index, transfer.round, start
        end, when_s = self._noted.get(key, (start, 0.0))
        now_s = time.monotonic()
        if mark.end - end + LONGEST_PIECE > most or now_s - when_s >= EVERY_S:
            self._noted[key] = mark.end, now_s
            self._state.note_mark(transfer, start, mark)

    def end(self, job: Range, outcome: Outcome) -> None:
        """An attempt to read a range has ended."""
        transfer = outcome.transfer
        self._noted.pop((transfer.index, transfer.round, job.start), None)
        if outcome.reached > job.start:
            mark = Mark(outcome.reached, Crc(job.checks[0], outcome.crcs[0]))
            self._state.note_mark(transfer, job.start, mark)
