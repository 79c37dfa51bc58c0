"""Of several runs at the same targets one transfers; the others wait for it.

A lock that also works where flock does nothing: each run posts claims (see ``postings``) in the
state folders of its roots. To take targets:

    1. post claims in all of the folders, then look at those of all other runs
    2. nobody who is there has a target in common: they are taken
    3. somebody with a smaller name has: withdraw all, wait until all of these are gone, begin anew
    4. only larger names have: keep the claims, wait until all of these are gone, look again

Everyone posts before looking, so of two at the same target at least one sees the other. Who keeps
claims waits only for larger names (which withdraw, or have taken the targets and will end), so
nobody waits in a circle, in whatever order the roots come.

A run of the same kernel and pid namespace is there while its process is. Any other shows that it
is there by touching its claims; who sees one untouched for half a minute, by the watcher's own
clock, takes it for dead. If it was only asleep, something is fetched twice, and right all the
same: no two runs share a temporary file. A claim of a newer version is waited for like any other,
but never removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import Self

from msgspec import Struct

from kaiwo.errors import DeadlineError
from kaiwo.files.paths import real_path
from kaiwo.jobs import Transfer
from kaiwo.state.claim_files import ForeignClaim, OwnClaim, Places, look, posted_in
from kaiwo.state.folder import claims_folder
from kaiwo.state.processes import is_running

#: Who waits looks again so soon at first.
FIRST_LOOK_S = 0.02
#: Others often withdraw at once; that is not worth a line in the log.
SAY_AFTER_S = 0.5
#: What is older than a claim that was posted now, by the clock of the file system, is forgotten.
FORGOTTEN_NS = 24 * 3600 * 10**9
_NOTHING: AbstractSet[str] = frozenset()
logger = logging.getLogger(__name__)


class Pace(Struct, frozen=True):
    """How often things happen.

    Attributes:
        touch_s: how often a claim is touched.
        silence_s: how long an untouched one is believed.
        look_s: how often who waits looks, between these two: not all at once.
        remind_s: how often a line in the log says so.
    """

    touch_s: float = 5.0
    silence_s: float = 30.0
    look_s: tuple[float, float] = (0.2, 1.0)
    remind_s: float = 30.0


#: What runs go by; tests are in a hurry.
USUAL = Pace()


def places(transfers: Iterable[Transfer], state_dir: str | None = None) -> Places:
    """What has to be claimed for these transfers: their targets, and blobs behind them."""
    folders: dict[str, str] = {}
    roots: dict[str, tuple[int, set[str]]] = {}
    for transfer in transfers:
        if transfer.root not in roots:
            top = os.path.realpath(transfer.root).rstrip("/")
            roots[transfer.root] = len(top) + 1, set()
        cut, hashes = roots[transfer.root]
        hashes.add(_hash(real_path(transfer.target, folders)[cut:]))
        if transfer.blob is not None:
            hashes.add(_hash(real_path(transfer.blob, folders)[cut:]))
    return {claims_folder(root, state_dir): hashes for root, (_, hashes) in roots.items()}


def _hash(relative: str) -> str:
    return hashlib.blake2b(os.fsencode(relative), digest_size=8).hexdigest()


def is_claiming(root: str, state_dir: str | None, run: str) -> bool:
    """Whether a run has claims on targets of that root, and has not been found to be dead."""
    return any(ForeignClaim(path).run == run for path in posted_in(claims_folder(root, state_dir)))


class Claim:
    """The targets of a run; leaving the context lets go of them.

    Args:
        run: a token that no other run has, of hexadecimal digits.
        idle: called now and then while waiting, for displays that follow the clock.
        until_s: when waiting ends with a DeadlineError, by ``time.monotonic``.
        pace: how often things happen; the same for all runs.
    """

    def __init__(
        self,
        run: str,
        idle: Callable[[], None] = lambda: None,
        until_s: float | None = None,
        pace: Pace = USUAL,
    ) -> None:
        self.run = run
        self._idle = idle
        self._until_s = until_s
        self._pace = pace
        self._taken: Places = {}
        self._attempts = 0
        self._posting: OwnClaim | None = None
        self._known: dict[str, ForeignClaim] = {}
        # Of a claim that only its touches tell of: modification time, and since when.
        self._watched: dict[str, tuple[int, float]] = {}
        self._pause = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def take(self, wanted: Places) -> bool:
        """Have these targets; says whether others had to be waited for.

        If it says so, what is there may have changed. What is taken already is kept if it covers
        all of these, else let go of first. A folder that cannot be written is left out, with a
        warning.

        Raises:
            DeadlineError: others are still at them.
        """
        if all(own <= self._taken.get(folder, _NOTHING) for folder, own in wanted.items()):
            return False
        self.release()
        waited = False
        while True:
            others = list(self._overlapping(self._posted(wanted)))
            if not others:
                self._taken = wanted
                return waited
            waited = True
            if any(other.run < self.run for other in others):
                self.release()
            self._wait_for(others)

    def tidy(self, folders: Iterable[str]) -> None:
        """Remove what runs left there that are dead for certain."""
        for folder in folders:
            for path in posted_in(folder):
                if ForeignClaim(path).run != self.run:
                    self._is_there(path)
            with contextlib.suppress(OSError):  # it is not there, or of use to somebody
                os.rmdir(folder)

    def release(self) -> None:
        """Let go of everything."""
        self._taken = {}
        if self._posting is not None:
            self._posting.withdraw()
            self._posting = None

    def _posted(self, wanted: Places) -> OwnClaim:
        """The claims that others see; posted now, unless they were kept."""
        if self._posting is None:
            self._attempts += 1
            name = f"{self.run}-{self._attempts}"
            self._posting = OwnClaim(name, wanted, self._pace.touch_s)
            self._posting.post()
        return self._posting

    def _overlapping(self, posting: OwnClaim) -> Iterator[ForeignClaim]:
        """The claims of others who are there, on any of these targets."""
        for folder, own in posting.places.items():
            for path in posted_in(folder):
                if ForeignClaim(path).run == self.run or not self._is_there(path, posting.since_ns):
                    continue
                other = self._known[path]
                if other.targets is None or not other.targets.isdisjoint(own):
                    yield other

    def _is_there(self, path: str, now_ns: int = 0) -> bool:
        """Whether there is such a claim, of a run that is there; a dead one's is removed."""
        try:
            other, touched_ns = look(path, self._known.get(path))
        except FileNotFoundError:
            return False
        self._known[path] = other
        there = None if other.process is None else is_running(other.process)
        if there is None:
            there = now_ns - touched_ns < FORGOTTEN_NS and not self._is_silent(path, touched_ns)
        if not there and not other.newer:
            logger.debug("%s has ended without removing %s", other.holder, path)
            with contextlib.suppress(OSError):
                os.unlink(path)
        return there

    def _is_silent(self, path: str, touched_ns: int) -> bool:
        """Whether it has not been touched for too long, as far as this run has seen."""
        now_s = time.monotonic()
        seen_ns, since_s = self._watched.get(path, (touched_ns, now_s))
        if seen_ns != touched_ns:
            since_s = now_s
        self._watched[path] = touched_ns, since_s
        return now_s - since_s >= self._pace.silence_s

    def _wait_for(self, others: list[ForeignClaim]) -> None:
        """Return when all of these are gone."""
        say_s, word = time.monotonic() + SAY_AFTER_S, "waiting"
        longest_s = FIRST_LOOK_S
        while others := [other for other in others if self._is_there(other.path)]:
            self._idle()
            now_s = time.monotonic()
            holders = " and ".join(sorted({other.holder for other in others}))
            if now_s >= say_s:
                logger.info("%s for %s, at work on the same targets", word, holders)
                say_s, word = now_s + self._pace.remind_s, "still waiting"
            delay_s = min(longest_s, random.uniform(*self._pace.look_s))  # noqa: S311 - no secret
            longest_s *= 2
            if self._until_s is not None:
                if now_s >= self._until_s:
                    raise DeadlineError(f"deadline passed while waiting for {holders}")
                delay_s = min(delay_s, self._until_s - now_s)
            # Unlike a sleep, a signal's exception can end it.
            self._pause.wait(delay_s)
