"""Threads that run calls; a thread that cannot be started is fewer threads, and no failure.

A pod may limit processes and threads (``ulimit -u``, a limit of its control group) or address space
(``ulimit -v``, of which each thread's stack takes 8 MiB). ``ThreadPoolExecutor`` fails there, and
what was submitted is lost.

    a call is submitted ─> all threads are busy ─> one more is started ─┬─> it runs the calls
                                                                        └─> refused: no more from
                                                                            now on, and a few end

A few end because others need threads too: an event loop, a name lookup. Where no thread at all can
be started, the caller's thread runs the call.

No thread can be ended from outside. So a call that takes long asks ``require_open`` between its
steps, and ends there once its threads are closed: a run that is over opens nothing, writes nothing
and publishes nothing. A thread that waits for a server ends when the source is closed; only a call
of native code that nothing ends (obstore's synchronous one) lasts until the stall timeout.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from kaiwo import redact
from kaiwo.errors import UnfinishedError
from kaiwo.files import new_threads

P = ParamSpec("P")
T = TypeVar("T")

#: This number of threads ends when no more can be started.
LEFT_TO_OTHERS = 2
#: Wait for threads at most this long at the end of a run, and at the end of the program.
ENDS_IN_S, EXITS_IN_S = 1.0, 5.0
#: Of a thread: the end of the run that it works for.
_of_thread = threading.local()
logger = logging.getLogger(__name__)


class Ending(Protocol):
    """The end of a run; a ``threading.Event``, where the run is in this process."""

    def is_set(self) -> bool:
        """Whether the run is over."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run is over, or for these seconds; returns whether it is."""
        ...


def require_open() -> None:
    """Return if the run that this thread works for goes on.

    Raises:
        UnfinishedError: it is over.
    """
    end = _own()  # not by ``over``: each small object passes here several times
    if end is not None and end.is_set():
        raise UnfinishedError("the run is over")


def over() -> Callable[[], bool]:
    """Says, in any thread, whether the run that this thread works for is over."""
    end = _own()
    return (lambda: False) if end is None else end.is_set


def _own() -> Ending | None:
    """The end of the run that this thread works for."""
    return getattr(_of_thread, "end", None)


@contextlib.contextmanager
def working_until(end: Ending) -> Iterator[None]:
    """Inside the block, this thread works for the run that has this end."""
    before = _own()
    _of_thread.end = end
    try:
        yield
    finally:
        _of_thread.end = before


def pause(seconds: float) -> None:
    """Wait, but not longer than the run that this thread works for.

    Raises:
        UnfinishedError: it is over.
    """
    end = _own()
    if end is None:
        time.sleep(seconds)
    elif end.wait(seconds):
        raise UnfinishedError("the run is over")


class WorkerThreads(Executor):
    """An executor of threads, which are started when all others are busy.

    Args:
        most: at most this many threads.
        name: of the threads begins with this.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        #: Calls that were submitted and have not ended.
        self._pending = 0
        self._started = 0
        self._is_closed = False
        self._ended = threading.Event()
        self._process = os.getpid()

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See ``Executor``."""
        future: Future[T] = Future()
        step = partial(self._run, future, partial(call, *args, **kwargs))
        with self._lock:
            if self._is_closed:
                raise RuntimeError("these threads take no more calls")
            self._pending += 1
            if self._pending > len(self._threads) and len(self._threads) < self._most:
                self._grow()
            if has_threads := bool(self._threads):
                self._calls.put(step)
        if not has_threads:
            step()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``Executor``; with ``cancel_futures``, calls that are under way should end, too."""
        with self._lock:
            self._is_closed = True
            if cancel_futures:
                self._ended.set()
                self._cancel_waiting()
            for _ in self._threads:
                self._calls.put(None)
        if wait:
            self.join()

    def join(self, most_s: float | None = None) -> None:
        """After ``shutdown``, wait until the threads have ended, or for this time."""
        with self._lock:
            threads = list(self._threads)
        end_s = None if most_s is None else time.monotonic() + most_s
        for thread in threads:
            # One whose start was interrupted may begin later, or never; it finds no call.
            with contextlib.suppress(RuntimeError):
                thread.join(None if end_s is None else max(end_s - time.monotonic(), 0.0))

    def _cancel_waiting(self) -> None:
        while True:
            try:
                step = self._calls.get_nowait()
            except queue.Empty:
                return
            if isinstance(step, partial):
                step.args[0].cancel()
                self._pending -= 1

    def _grow(self) -> None:
        """Start one more thread; if that fails, no more are started from now on."""
        # The interpreter does not wait for these threads when it ends, ``_end`` does: a run that is
        # in a daemon thread itself never closes them.
        thread = threading.Thread(
            target=self._work, name=f"{self._name}_{self._started}", daemon=True
        )
        if not self._started:
            atexit.register(self._end)
        self._started += 1
        # Before it runs: an interrupt may come while it starts, see ``new_threads``.
        self._threads.add(thread)
        if not new_threads.start(thread):
            self._threads.discard(thread)
            self._started -= 1
            if not self._started:
                atexit.unregister(self._end)
            found = len(self._threads)
            self._most = max(found - LEFT_TO_OTHERS, min(found, 1))
            logger.info("no more threads can be started: %d do the work", max(self._most, 1))

    def _work(self) -> None:
        _of_thread.end = self._ended
        redact.mark_thread()
        while (step := self._calls.get()) is not None:
            step()
            # Its result must not live until the next call comes.
            del step
            with self._lock:
                if len(self._threads) > self._most:
                    self._leave()
                    return
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        self._threads.discard(threading.current_thread())
        if self._is_closed and not self._threads:
            atexit.unregister(self._end)

    def _run(self, future: Future[T], call: Callable[[], T]) -> None:
        is_wanted = future.set_running_or_notify_cancel()
        found: T
        error: BaseException | None = None
        try:
            if is_wanted:
                found = call()
        except BaseException as caught:  # a panic in Rust is no Exception
            error = caught
        # Before anybody learns of the result: who submits the next call then finds this thread.
        with self._lock:
            self._pending -= 1
        if error is not None:
            future.set_exception(error)
        elif is_wanted:
            future.set_result(found)

    def _end(self) -> None:
        """The program ends: calls that are under way may end, no other begins."""
        # A forked child does not have these threads; one may have held the lock.
        if self._process == os.getpid():
            self.shutdown(wait=False, cancel_futures=True)
            self.join(EXITS_IN_S)
