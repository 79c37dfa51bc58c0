"""For how long somebody has said nothing: a process that hangs is still there, and no error comes.

Only time counts in which somebody looks: who looks may have been stopped as well.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from kaiwo import units

#: After such a silence, a worker hangs, or is gone.
SILENT_S = 30.0
logger = logging.getLogger(__name__)


class Silence:
    """How long each has been silent.

    Args:
        look_s: the time between two looks; a longer one counts as twice that.

    Attributes:
        lengths_now_s: as of the last look.
    """

    def __init__(self, look_s: float) -> None:
        self.lengths_now_s: dict[str, float] = {}
        self._most_s = 2 * look_s
        self._looked_s = 0.0
        self._said: Mapping[str, object] = {}

    def lengths_s(self, said: Mapping[str, object], now_s: float) -> dict[str, float]:
        """For how long each has said the same.

        Args:
            said: by each: something else whenever it speaks; None: it cannot be told.
            now_s: the time of the monotonic clock.
        """
        passed_s, self._looked_s = min(now_s - self._looked_s, self._most_s), now_s
        was_s, self.lengths_now_s = self.lengths_now_s, {}
        for name, each in said.items():
            is_heard = each is None or each != self._said.get(name)
            self.lengths_now_s[name] = 0.0 if is_heard else was_s.get(name, 0.0) + passed_s
        self._said = dict(said)
        return self.lengths_now_s


class Hearing:
    """Says it once where the workers of an executor say nothing any more.

    What they had is not given to others: an executor that has lost a worker says so itself, and one
    that hangs may go on.

    Args:
        look_s: the time between two looks, at least.
    """

    def __init__(self, look_s: float) -> None:
        self._silence = Silence(look_s)
        self._letters: Counter[str] = Counter()
        self._silent: set[str] = set()

    def note(self, site: str) -> None:
        """A site has said something."""
        self._letters[site] += 1

    def look(self, busy: Mapping[str, int], waiting: int, done: int, now_s: float) -> None:
        """Warn of those that are silent.

        Args:
            busy: the jobs that each site has begun.
            waiting: the jobs that have not come back.
            done: those that have.
            now_s: the time of the monotonic clock.
        """
        said: dict[str, object] = {site: self._letters[site] for site in busy if busy[site]}
        if waiting and not said:
            said[""] = done, self._letters.total()
        lengths_s = self._silence.lengths_s(said, now_s)
        silent = {name for name in said if lengths_s[name] >= SILENT_S}
        for site in sorted(silent - self._silent):
            if site:
                logger.warning(
                    "worker %s has said nothing for %.0f s: it is gone, or it hangs. The run waits "
                    "for %s that it had begun; to end that, end this process, and run kaiwo again",
                    site,
                    SILENT_S,
                    units.count(busy[site], "job"),
                )
            else:
                logger.warning(
                    "the executor has begun none of %s for %.0f s: its workers do something else, "
                    "or hang. The run waits for them",
                    units.count(waiting, "job"),
                    SILENT_S,
                )
        self._silent = silent
