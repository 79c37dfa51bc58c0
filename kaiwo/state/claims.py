"""Of several runs with the same targets, one downloads; the others wait for it.

This is a lock that also works where flock does nothing. Each run posts claims (files, see
``claim_files.py``) in the state folders of its roots. To take targets:

    1. post claims in all folders, then read the claims of all other runs
    2. no other living run claims one of these targets: they are taken
    3. one with a smaller name does: withdraw all, wait until all of these claims are gone, restart
    4. only larger names do: keep the claims, wait until all of theirs are gone, read again

Everyone posts before reading, so of two runs with the same target at least one sees the other. A
run that keeps its claims waits only for larger names; these withdraw, or have taken the targets and
will end. So no runs wait in a circle, in any order of the roots.

A run of the same kernel and pid namespace lives while its process does. Any other shows that it
lives by touching its claims; a claim that is untouched for half a minute, by the clock of the
reader, is of a dead run. If that run only slept, something is downloaded twice, and correctly: no
two runs share a temporary file. A claim of a newer version counts like any other, but is never
removed.

A run that hangs may touch its claims for ever, and so may anybody who can write there. So waiting
ends with an error after a day, or at the run's own deadline.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import Protocol, Self

from msgspec import Struct

from kaiwo.errors import DeadlineError
from kaiwo.files.paths import real_path
from kaiwo.files.temporary_files import discard
from kaiwo.state.claim_files import (
    ForeignClaim,
    OwnClaim,
    Targets,
    read_claim,
    remove_folder,
)
from kaiwo.state.folder import claim_paths, claims_folder, run_of_claim
from kaiwo.state.processes import is_running
from kaiwo.state.sharing import root_of_state

#: A run that waits reads the claims again this soon at first.
FIRST_LOOK_S = 0.02
#: Others often withdraw at once; that is not worth a line in the log.
SAY_AFTER_S = 0.5
#: A claim that is so much older than one posted now, by the clock of the file system, is ignored.
FORGOTTEN_NS = 24 * 3600 * 10**9
_NOTHING: AbstractSet[str] = frozenset()
logger = logging.getLogger(__name__)


class Timing(Struct, frozen=True):
    """How often a run does what concerns claims; the same for all runs.

    Attributes:
        touch_s: it touches its own claims.
        silence_s: it takes the run of a claim that is untouched for so long for dead.
        look_s: while it waits, it reads the claims again, at random between these two.
        remind_s: while it waits, it writes a line to the log.
        longest_s: it waits no longer than that for the claims of others.
    """

    touch_s: float = 5.0
    silence_s: float = 30.0
    look_s: tuple[float, float] = (0.2, 1.0)
    remind_s: float = 30.0
    longest_s: float = 24 * 3600.0


#: What runs use; tests are in a hurry.
USUAL = Timing()


class Claimable(Protocol):
    """What goes to a target, or leaves it; see ``Transfer`` for the fields."""

    @property
    def target(self) -> str:
        """Absolute path."""
        ...

    @property
    def root(self) -> str:
        """Whose state folder has the claim."""
        ...

    @property
    def blob(self) -> str | None:
        """Where the bytes really are."""
        ...


def targets_of(transfers: Iterable[Claimable], state_dir: str | None = None) -> Targets:
    """What these transfers have to claim: their targets, and the blobs behind them."""
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
    """Whether a run has claims on targets of that root, and was not found to be dead."""
    return any(run_of_claim(path) == run for path in claim_paths(claims_folder(root, state_dir)))


def is_alone(root: str, state_dir: str | None, run: str) -> bool:
    """Whether no other run has claims on targets of that root."""
    return all(run_of_claim(path) == run for path in claim_paths(claims_folder(root, state_dir)))


class Claim:
    """The targets of a run; they are released at the end of the context.

    Args:
        run: a token that no other run has, of hexadecimal digits.
        idle: called now and then while waiting, for displays that follow the clock.
        until_s: when waiting ends with a DeadlineError, by ``time.monotonic``.
        timing: see ``Timing``.
    """

    def __init__(
        self,
        run: str,
        idle: Callable[[], None] = lambda: None,
        until_s: float | None = None,
        timing: Timing = USUAL,
    ) -> None:
        self.run = run
        self._idle = idle
        self._until_s = until_s
        self._timing = timing
        self._taken: Targets = {}
        self._attempts = 0
        self._own: OwnClaim | None = None
        self._known: dict[str, ForeignClaim] = {}
        # For each claim whose process cannot be asked for: its modification time, and since when.
        self._touches: dict[str, tuple[int, float]] = {}
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

    def take(self, wanted: Targets) -> bool:
        """Take these targets; says whether this had to wait for other runs.

        If it waited, the files there may have changed. Targets that are taken already are kept if
        they cover all of these, else they are released first. A folder that cannot be written is
        left out, with a warning.

        Raises:
            DeadlineError: other runs still have some of them.
        """
        if all(hashes <= self._taken.get(folder, _NOTHING) for folder, hashes in wanted.items()):
            return False
        self.release()
        waited = False
        end_s = time.monotonic() + self._timing.longest_s
        while True:
            others = list(self._conflicting(self._posted(wanted)))
            if not others:
                self._taken = wanted
                return waited
            waited = True
            if any(other.run < self.run for other in others):
                self.release()
            self._wait_for(others, end_s)

    def tidy(self, folders: Iterable[str]) -> None:
        """Remove the claims of dead runs from these folders of claims."""
        for folder in folders:
            for path in claim_paths(folder):
                if run_of_claim(path) != self.run:
                    self._is_alive(path)
            remove_folder(folder)

    @property
    def is_lost(self) -> bool:
        """Another run took this one for dead, and may have taken the targets."""
        return self._own is not None and self._own.is_gone

    def release(self) -> None:
        """Release all targets."""
        self._taken = {}
        if self._own is not None:
            self._own.withdraw()
            self._own = None

    def _posted(self, wanted: Targets) -> OwnClaim:
        """The claims that others see; posted now, unless they were kept."""
        if self._own is None:
            self._attempts += 1
            self._own = OwnClaim(self.run, self._attempts, wanted, self._timing.touch_s)
            self._own.post()
        return self._own

    def _conflicting(self, own: OwnClaim) -> Iterator[ForeignClaim]:
        """The claims of other living runs on any of these targets."""
        for folder, hashes in own.targets.items():
            for path in claim_paths(folder):
                if run_of_claim(path) == self.run or not self._is_alive(path, own.since_ns):
                    continue
                other = self._known[path]
                if other.targets is None or not other.targets.isdisjoint(hashes):
                    yield other

    def _is_alive(self, path: str, now_ns: int = 0) -> bool:
        """Whether there is such a claim, and its run is alive; a dead run's claim is removed."""
        try:
            other, touched_ns = read_claim(path, self._known.get(path))
        except FileNotFoundError:
            return False
        self._known[path] = other
        alive = None if other.process is None else is_running(other.process)
        if alive is None:
            alive = now_ns - touched_ns < FORGOTTEN_NS and not self._is_silent(path, touched_ns)
        if not alive and not other.is_newer:
            logger.debug("%s has ended without removing %s", other.holder, path)
            discard(path, root_of_state(os.path.dirname(path)))
        return alive

    def _is_silent(self, path: str, touched_ns: int) -> bool:
        """Whether this run has seen it untouched for too long."""
        now_s = time.monotonic()
        last_ns, since_s = self._touches.get(path, (touched_ns, now_s))
        if last_ns != touched_ns:
            since_s = now_s
        self._touches[path] = touched_ns, since_s
        return now_s - since_s >= self._timing.silence_s

    def _wait_for(self, others: list[ForeignClaim], end_s: float) -> None:
        """Return when all of these are gone."""
        until_s = end_s if self._until_s is None else min(end_s, self._until_s)
        say_s, word = time.monotonic() + SAY_AFTER_S, "waiting"
        longest_s = FIRST_LOOK_S
        while others := [other for other in others if self._is_alive(other.path)]:
            self._idle()
            now_s = time.monotonic()
            holders = " and ".join(sorted({other.holder for other in others}))
            if now_s >= say_s:
                logger.info("%s for %s, which downloads to the same targets", word, holders)
                say_s, word = now_s + self._timing.remind_s, "still waiting"
            delay_s = min(longest_s, random.uniform(*self._timing.look_s))  # noqa: S311 - no secret
            longest_s *= 2
            if now_s >= until_s:
                raise DeadlineError(self._end_of(others, holders, is_deadline=until_s < end_s))
            # Unlike a sleep, a signal's exception can end it.
            self._pause.wait(min(delay_s, until_s - now_s))

    def _end_of(self, others: list[ForeignClaim], holders: str, *, is_deadline: bool) -> str:
        """Why this run waits no longer, for people."""
        if is_deadline:
            return f"the deadline passed while waiting for {holders}"
        hours = self._timing.longest_s / 3600
        paths = " and ".join(sorted(other.path for other in others))
        return (
            f"waited {hours:.0f} hours for {holders}, which downloads to the same targets; if that "
            f"run hangs, end it, or remove {paths}"
        )
