"""One executor, one queue: keeps a number of jobs in flight until none is left.

    feeds (lazy iterators of jobs, in order) ─┐
    repeats (a heap by due time) ─────────────┴─> executor ─> results ─> handler ─> new jobs

The caller's thread owns all of it. Results come back through a queue that the futures' callbacks
fill, and so do calls of other threads; nothing is polled, and a repeat waits in the heap, not in a
worker. Feeds of one queue follow each other; a queue whose job has no room holds back no other. It
works with any ``concurrent.futures.Executor``, which is never shut down here.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Concatenate, Generic, TypeVar

from kaiwo.engine.inbox import Inbox

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

#: The longest silence between two calls of ``idle``.
TICK_S = 0.5
#: What may not start yet is not asked for more often.
_SHORTEST_WAIT_S = 0.005
#: At most this many jobs that may start only later are put aside; those after them go first.
MOST_ASIDE = 1000


class Dispatcher(Generic[JobT, ResultT]):
    """Runs jobs on an executor, a limited number at once.

    Args:
        executor: where ``work`` runs.
        window: how many jobs may be submitted and unfinished, or how many of each lane. The owner
            of a mapping may change it at any time.
        work: a module-level function; it, its arguments and its result must be picklable when
            the executor's workers are processes.
        begin: called when a job starts; returns what ``work`` is given besides the job.
        idle: called about every half second, for displays that follow the clock.
        caught_up: called when no result waits to be handled, before one is waited for.
        wanted: asked before a job that had to wait starts; an unwanted one is dropped.
        most: how many jobs of all lanes may be submitted and unfinished, if that is limited.
        lane: of a job, where there are several, each with its own limit. A job that is fed and has
            no room in its lane holds back those that are fed after it to the same queue.
        starts_s: the time of the monotonic clock before which a job must not start.
    """

    def __init__(
        self,
        executor: Executor,
        window: int | Mapping[str, int],
        work: Callable[Concatenate[JobT, ...], ResultT],
        begin: Callable[[JobT], tuple[object, ...]] = lambda _: (),
        idle: Callable[[], None] = lambda: None,
        caught_up: Callable[[], None] = lambda: None,
        wanted: Callable[[JobT], bool] = lambda _: True,
        lane: Callable[[JobT], str] = lambda _: "",
        starts_s: Callable[[JobT], float] = lambda _: 0.0,
        most: int | None = None,
    ) -> None:
        self._limits = {"": window} if isinstance(window, int) else window
        self._most = math.inf if most is None else most
        self._executor = executor
        self._lane = lane
        #: Jobs under way of each lane; None: they take no room here.
        self._busy: Counter[str | None] = Counter()
        self._work = work
        self._begin = begin
        self._idle = idle
        self._caught_up = caught_up
        self._wanted = wanted
        self._starts_s = starts_s
        #: The feeds of each queue, and the job of each that waits for room.
        self._feeds: dict[str, deque[Iterator[JobT]]] = {}
        self._held: dict[str, JobT] = {}
        self._repeats: list[tuple[float, int, JobT]] = []
        self._order = itertools.count()
        self._results = Inbox[tuple[JobT, Future[ResultT]] | Callable[[], None]]()
        self._in_flight: dict[Future[ResultT], tuple[JobT, str | None]] = {}
        self._last_tick = time.monotonic()

    def feed(self, jobs: Iterable[JobT], name: str = "") -> None:
        """Take these jobs after all others of the queue of that name, each when there is room."""
        self._feeds.setdefault(name, deque()).append(iter(jobs))

    def call(self, function: Callable[[], None]) -> None:
        """Have this called in the thread of ``run``; may be asked from any thread."""
        self._results.put(function)

    def repeat(self, job: JobT, delay_s: float) -> None:
        """Run this job when the delay is over, before all jobs that are fed."""
        self._postpone(job, time.monotonic() + delay_s)

    def watch(self, job: JobT, future: Future[ResultT]) -> None:
        """Hand over this result too, of work that was started elsewhere and takes no room here."""
        self._track(job, None, future)

    def narrow(self) -> bool:
        """A job met a limit of this process: have no more jobs at once than are under way now.

        Returns False when none is under way, so that fewer are not possible.
        """
        running = self._running()
        self._most = min(self._most, max(running, 1))
        return running > 0

    def abandon(self) -> None:
        """Forget every job that has not started; results of those in flight still come back."""
        self._feeds.clear()
        self._held.clear()
        self._repeats.clear()
        for future in list(self._in_flight):
            future.cancel()

    def in_flight(self) -> Iterator[JobT]:
        """The jobs that were submitted and have not come back."""
        return (job for job, _ in self._in_flight.values())

    def run(self, handle: Callable[[JobT, ResultT], None], until_s: float | None = None) -> bool:
        """Return True when all jobs are done; each result is handed over in this thread.

        An exception of ``work`` or ``handle`` is a bug and passes through.

        Args:
            handle: is given each job and its result.
            until_s: at that time of the monotonic clock False is returned, with jobs in flight.
        """
        while until_s is None or time.monotonic() < until_s:
            self._fill()
            if not (self._in_flight or self._repeats):
                return True
            finished = self._next_result(until_s)
            if callable(finished):
                finished()
            elif finished is not None:
                job, future = finished
                self._busy[self._in_flight.pop(future)[1]] -= 1
                if not future.cancelled():
                    handle(job, future.result())
            self._tick()
        return False

    def _fill(self) -> None:
        while self._has_room():
            job = self._due() or self._fed()
            if job is None:
                return
            lane, more = self._lane(job), self._begin(job)
            self._track(job, lane, self._executor.submit(self._work, job, *more))

    def _running(self) -> int:
        return len(self._in_flight) - self._busy[None]

    def _has_room(self) -> bool:
        if self._running() >= self._most:
            return False
        return any(self._busy[lane] < limit for lane, limit in self._limits.items())

    def _may_start(self, job: JobT) -> bool:
        lane = self._lane(job)
        return self._busy[lane] < self._limits[lane]

    def _track(self, job: JobT, lane: str | None, future: Future[ResultT]) -> None:
        self._busy[lane] += 1
        self._in_flight[future] = job, lane
        future.add_done_callback(lambda done: self._results.put((job, done)))

    def _due(self) -> JobT | None:
        """The next repeat that is due and may start.

        One that may not start holds back no other: it may wait for that one.
        """
        held: list[tuple[float, int, JobT]] = []
        found: JobT | None = None
        while found is None and self._repeats and self._repeats[0][0] <= time.monotonic():
            entry = heapq.heappop(self._repeats)
            repeated = entry[2]
            if not self._wanted(repeated):
                continue
            if (later_s := self._starts_s(repeated)) > time.monotonic():
                self._postpone(repeated, later_s)
            elif self._may_start(repeated):
                found = repeated
            else:
                held.append(entry)
        for entry in held:
            heapq.heappush(self._repeats, entry)
        return found

    def _postpone(self, job: JobT, due_s: float) -> None:
        heapq.heappush(self._repeats, (due_s, next(self._order), job))

    def _fed(self) -> JobT | None:
        """The next job of the feeds: of the first queue that has one with room."""
        for name in list(self._feeds):
            if (job := self._fed_to(name)) is not None:
                return job
        return None

    def _fed_to(self, name: str) -> JobT | None:
        """The next job of a queue; one without room is held, and all jobs after it.

        Jobs that may start only later are put aside meanwhile, up to a limit.
        """
        while (job := self._next(name)) is not None:
            later_s = self._starts_s(job)
            if later_s <= time.monotonic():
                return self._held.pop(name) if self._may_start(job) else None
            if len(self._repeats) >= MOST_ASIDE:
                return None
            self._postpone(self._held.pop(name), later_s)
        return None

    def _next(self, name: str) -> JobT | None:
        """The job of a queue that is held, or the next of its feeds, which is then held."""
        if name in self._held and not self._wanted(self._held[name]):
            del self._held[name]
        while name not in self._held and (feeds := self._feeds.get(name)):
            job = next(feeds[0], None)
            # Making a job may have abandoned all jobs.
            if name not in self._feeds:
                return None
            if job is not None:
                self._held[name] = job
            else:
                feeds.popleft()
        return self._held.get(name)

    def _next_result(
        self, until_s: float | None
    ) -> tuple[JobT, Future[ResultT]] | Callable[[], None] | None:
        now_s = time.monotonic()
        until_s = min(now_s + TICK_S, until_s or math.inf)
        # A repeat that is due and may not start waits for a result, which makes room for it.
        if self._repeats and (self._repeats[0][0] > now_s or not self._in_flight):
            until_s = min(until_s, max(self._repeats[0][0], now_s + _SHORTEST_WAIT_S))
        if self._results.is_empty():
            self._caught_up()
        return self._results.get(until_s - time.monotonic())

    def _tick(self) -> None:
        if time.monotonic() - self._last_tick >= TICK_S:
            self._last_tick = time.monotonic()
            self._idle()
