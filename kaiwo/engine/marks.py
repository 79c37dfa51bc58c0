"""How far ranges are written, for a later run: the journal gets the marks of many at once.

    a range is complete, or failed       all marks are noted
    ranges have grown by ``UNNOTED``     all marks are noted
    half a second has passed             all marks are noted

Each write to the journal gives up the interpreter's lock, and with many workers it takes a
millisecond to have it back: the scheduler would do little else.
"""

from __future__ import annotations

import time

from kaiwo.jobs import Crc, Mark, Outcome, Progress, Range, Transfer
from kaiwo.state.state import State

#: Bytes of all ranges that are written and not noted.
UNNOTED = 16 << 20
EVERY_S = 0.5


class Marks:
    """The marks of ranges that are under way.

    Args:
        state: has the journals.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        #: The latest mark of each range that is not noted, by the object's temporary file.
        self._latest: dict[tuple[str, int], tuple[Transfer, int, Mark]] = {}
        self._unnoted = 0
        self._noted_s = 0.0

    def reach(self, progress: Progress, mark: Mark) -> None:
        """A range has grown up to the mark."""
        self._add(progress.transfer, progress.start, mark)
        self._unnoted += progress.bytes
        if self._unnoted >= UNNOTED or time.monotonic() - self._noted_s >= EVERY_S:
            self.note()

    def end(self, job: Range, outcome: Outcome) -> None:
        """An attempt to read a range has ended."""
        if outcome.reached > job.start:
            mark = Mark(outcome.reached, Crc(job.checks[0], outcome.crcs[0]))
            self._add(outcome.transfer, job.start, mark)
            self.note()

    def note(self) -> None:
        """Note what is not noted yet."""
        if self._latest:
            self._state.note_marks(self._latest.values())
            self._latest.clear()
        self._unnoted, self._noted_s = 0, time.monotonic()

    def _add(self, transfer: Transfer, start: int, mark: Mark) -> None:
        self._latest[transfer.temporary, start] = transfer, start, mark
