"""The runs that this worker is a node of, and whether they go on.

A run says twice a second that it goes on. One that says nothing for ``SILENT_S`` is over: its
process was killed. Only time counts in which this process ran: one that was stopped first hears
what there is to hear.

A run that is over is let go at once: what it reads ends, and what it has in memory goes.

Module state: the runs, and the thread that watches them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

from distributed import Worker

from kaiwo.errors import UnfinishedError
from kaiwo.replicas.calls import Told
from kaiwo.replicas.node import Node

#: A run counts as dead after such a silence, which is counted in steps. A worker that loads modules
#: on a busy machine hears nothing for a while.
SILENT_S, STEP_S = 60.0, 1.0
#: Answers with bytes that are sent at once.
_AT_ONCE = 8


class Served:
    """A run that this worker is a node of; an ``Ending`` of it, see ``workers.threads``.

    Args:
        worker: of Dask.

    Attributes:
        worker: as above.
        node: once its run has begun.
        told: says what is new.
        close: ends the requests that are under way.
        turns: to send bytes.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.node: Node | None = None
        self.told: Callable[[], Told] = Told
        self.close: Callable[[], None] = _nothing
        self.turns = asyncio.Semaphore(_AT_ONCE)
        self._ended = threading.Event()
        self._silent_s = 0.0

    def hear(self, living: Sequence[str]) -> None:
        """The run goes on; these are its nodes now."""
        self._silent_s = 0.0
        if self.node is not None and living:
            self.node.members.learn(living)

    def note_silence(self, seconds: float) -> None:
        """Nothing was heard for these seconds."""
        self._silent_s += seconds
        if self._silent_s >= SILENT_S:
            self._ended.set()

    def end(self) -> None:
        """The run is over."""
        self._ended.set()

    def is_set(self) -> bool:
        """Whether the run is over."""
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run is over, or for these seconds; returns whether it is."""
        return self._ended.wait(timeout)


class Seats:
    """The runs that this worker is a node of, by their tokens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seats: dict[str, Served] = {}
        self._is_watched = False
        self._news = threading.Event()

    def open(self, run: str, seat: Served) -> None:
        """Be a node of that run from now on; what was known of it is over."""
        with self._lock:
            before = self._seats.pop(run, None)
            self._seats[run] = seat
            is_watched, self._is_watched = self._is_watched, True
        if before is not None:
            _let_go(before)
        if not is_watched:
            self._begin_watching()

    def _begin_watching(self) -> None:
        try:
            threading.Thread(target=self._watch, name="kaiwo-seats", daemon=True).start()
        except RuntimeError:  # no more threads: this worker cannot be used
            self._is_watched = False
            self._seats.clear()
            raise

    def of(self, run: str) -> Served | None:
        """What there is of a run that goes on."""
        found = self._seats.get(run)
        return None if found is None or found.is_set() else found

    def end(self, run: str) -> None:
        """That run is over."""
        if (found := self._seats.get(run)) is not None:
            found.end()
            self._news.set()

    def step(self, seconds: float) -> bool:
        """These seconds have passed; returns whether a run goes on."""
        for run, seat in list(self._seats.items()):
            seat.note_silence(seconds)
            if seat.is_set():
                with self._lock:
                    if self._seats.get(run) is seat:
                        del self._seats[run]
                _let_go(seat)
        with self._lock:
            self._is_watched = bool(self._seats)
            return self._is_watched

    def _watch(self) -> None:
        is_news = True
        while self.step(0.0 if is_news else STEP_S):
            is_news = self._news.wait(STEP_S)
            self._news.clear()


seats = Seats()


def served(run: str) -> Served:
    """What this worker has of a run.

    Raises:
        UnfinishedError: the run is over, or was never here.
    """
    found = seats.of(run)
    if found is None:
        raise UnfinishedError("the run is over")
    return found


def _let_go(seat: Served) -> None:
    seat.end()
    with contextlib.suppress(Exception):  # of any source: the other runs are watched, too
        seat.close()


def _nothing() -> None:
    pass
