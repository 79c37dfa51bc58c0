"""One executor, one queue: keeps so many jobs in flight until none is left.

    feeds (lazy iterators of jobs, in order) ─┐
    repeats (a heap by due time) ─────────────┴─> executor ─> results ─> handler ─> new jobs

The caller's thread owns all of it. Results come back through a queue that the futures' callbacks
fill; nothing is polled, and a repeat waits in the heap, not in a worker. Any
``concurrent.futures.Executor`` will do; it is never shut down here.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

#: The longest silence between two calls of ``idle``.
TICK_S = 0.5


class Dispatcher(Generic[JobT, ResultT]):
    """Runs jobs on an executor, only so many of them at once.

    Args:
        executor: where ``work`` runs.
        window: how many jobs may be submitted and unfinished, or how many of each lane.
        work: a module-level function; it, its argument and its result must be picklable when
            the executor's workers are processes.
        idle: called about every half second, for displays that follow the clock.
        wanted: asked before a job that had to wait begins; what is not wanted any more is dropped.
        lane: of a job, where there are several; jobs of one lane do not wait for another's.

    Attributes:
        limits: the window of each lane; may be changed at any time.
    """

    def __init__(
        self,
        executor: Executor,
        window: int | Mapping[str, int],
        work: Callable[[JobT], ResultT],
        idle: Callable[[], None] = lambda: None,
        wanted: Callable[[JobT], bool] = lambda _: True,
        lane: Callable[[JobT], str] = lambda _: "",
    ) -> None:
        self.limits = {"": window} if isinstance(window, int) else dict(window)
        self._executor = executor
        self._lane = lane
        self._busy: Counter[str | None] = Counter()
        self._held: JobT | None = None
        self._work = work
        self._idle = idle
        self._wanted = wanted
        self._feeds: deque[Iterator[JobT]] = deque()
        self._repeats: list[tuple[float, int, JobT]] = []
        self._order = itertools.count()
        self._results: queue.SimpleQueue[tuple[JobT, Future[ResultT]]] = queue.SimpleQueue()
        self._in_flight: dict[Future[ResultT], tuple[JobT, str | None]] = {}
        self._last_tick = time.monotonic()

    def feed(self, jobs: Iterable[JobT]) -> None:
        """Take these jobs, after all that were fed before, and only when there is room."""
        self._feeds.append(iter(jobs))

    def repeat(self, job: JobT, delay_s: float) -> None:
        """Run this job when the delay is over, before all that is fed."""
        heapq.heappush(self._repeats, (time.monotonic() + delay_s, next(self._order), job))

    def watch(self, job: JobT, future: Future[ResultT]) -> None:
        """Hand over this result, too, of work that was begun elsewhere and takes no room here."""
        self._begun(job, None, future)

    def abandon(self) -> None:
        """Forget everything that has not begun; what is in flight still comes back."""
        self._feeds.clear()
        self._repeats.clear()
        self._held = None
        for future in list(self._in_flight):
            future.cancel()

    def in_flight(self) -> Iterator[JobT]:
        """The jobs that were submitted and have not come back."""
        return (job for job, _ in self._in_flight.values())

    def run(self, handle: Callable[[JobT, ResultT], None]) -> None:
        """Return when all jobs are done; each result is handed over in this thread.

        An exception of ``work`` or ``handle`` is a defect and passes through.
        """
        while True:
            self._fill()
            if self._in_flight:
                finished = self._next_result()
                if finished is not None:
                    job, future = finished
                    self._busy[self._in_flight.pop(future)[1]] -= 1
                    if not future.cancelled():
                        handle(job, future.result())
            elif self._repeats:
                self._wait_until(self._repeats[0][0])
            else:
                return
            self._tick()

    def _fill(self) -> None:
        while self._has_room():
            job = self._due() or self._fed()
            if job is None:
                return
            self._begun(job, self._lane(job), self._executor.submit(self._work, job))

    def _has_room(self) -> bool:
        return any(self._busy[lane] < limit for lane, limit in self.limits.items())

    def _may_begin(self, job: JobT) -> bool:
        lane = self._lane(job)
        return self._busy[lane] < self.limits[lane]

    def _begun(self, job: JobT, lane: str | None, future: Future[ResultT]) -> None:
        self._busy[lane] += 1
        self._in_flight[future] = job, lane
        future.add_done_callback(lambda done: self._results.put((job, done)))

    def _due(self) -> JobT | None:
        """The next repeat, if it is due and may begin."""
        while self._repeats and self._repeats[0][0] <= time.monotonic():
            repeated = self._repeats[0][2]
            wanted = self._wanted(repeated)
            if wanted and not self._may_begin(repeated):
                return None
            heapq.heappop(self._repeats)
            if wanted:
                return repeated
        return None

    def _fed(self) -> JobT | None:
        """The next job of the feeds; one that may not begin yet is held, and all after it."""
        if self._held is not None and not self._wanted(self._held):
            self._held = None
        while self._held is None and self._feeds:
            feed = self._feeds[0]
            self._held = next(feed, None)
            # What makes the jobs may have abandoned them.
            if self._held is None and self._feeds and self._feeds[0] is feed:
                self._feeds.popleft()
        if self._held is None or not self._may_begin(self._held):
            return None
        job, self._held = self._held, None
        return job

    def _next_result(self) -> tuple[JobT, Future[ResultT]] | None:
        timeout_s = TICK_S
        if self._repeats and self._has_room():
            due_in_s = self._repeats[0][0] - time.monotonic()
            timeout_s = min(timeout_s, max(due_in_s, 0.001))
        try:
            return self._results.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _wait_until(self, due: float) -> None:
        # Nothing is in flight, so nothing can arrive: the empty queue serves as an alarm clock
        # that, unlike a sleep, a signal's exception can end.
        delay_s = min(max(due - time.monotonic(), 0.0), TICK_S)
        with contextlib.suppress(queue.Empty):
            self._results.get(timeout=delay_s)

    def _tick(self) -> None:
        if time.monotonic() - self._last_tick >= TICK_S:
            self._last_tick = time.monotonic()
            self._idle()
