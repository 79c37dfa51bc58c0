"""The executor that a scheduler is given when its jobs run in other processes.

    brings bytes, or hashes a file     there
    anything else                      here: it asks a store one question, or publishes what all
                                       have written, and none of it is worth a journey

What is published here is over when the run is over, and a worker that is gone cannot have published
half of a large object. A job whose worker is gone comes back as an outcome with a ``LostError``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from functools import partial
from typing import Any, ParamSpec, TypeVar

from kaiwo import redact
from kaiwo.errors import BugError, DiskError, KaiwoError, ServiceError, UnfinishedError
from kaiwo.files import new_threads
from kaiwo.jobs import (
    BringingJob,
    CheckExisting,
    Crc,
    Job,
    Mark,
    Outcome,
    Progress,
    Range,
    Transfer,
)
from kaiwo.remote import faults
from kaiwo.remote.calls import Answer, Call, packed, transfers_of, with_transfers
from kaiwo.remote.meeting import BEAT_S, Arrived, Busy, Letter, Logged, Meeting
from kaiwo.remote.places import Places
from kaiwo.remote.silence import Hearing
from kaiwo.remote.site import Here, here
from kaiwo.workers.jobs import run as run_job
from kaiwo.workers.reading import AT_ONCE, Reading
from kaiwo.workers.threads import ENDS_IN_S

P = ParamSpec("P")
T = TypeVar("T")

#: How often letters are looked for; longer where many sites write.
LOOK_S, LOOK_S_EACH = 0.1, 0.01
#: Jobs that no worker has begun in this time wait in the executor for others.
_QUEUED_S = 1.0


class _Parcel(Future[Any]):
    """A job that is under way: the future of its outcomes.

    Attributes:
        job: what is done.
        how: its bytes are read.
        sent: what the executor gave.
        is_unwanted: somebody has asked to cancel it.
    """

    def __init__(self, job: Job, how: Reading) -> None:
        super().__init__()
        self.job = job
        self.how = how
        self.sent: Future[Answer] | None = None
        self.is_unwanted = False

    def cancel(self) -> bool:
        """Cancel it, if the executor has not begun with it."""
        self.is_unwanted = True
        if self.sent is not None and not self.sent.cancel():
            return False
        return super().cancel()


class Carrier(Executor):
    """Sends jobs to other processes, and hears what these report.

    Args:
        run: token of the run.
        places: where jobs go.
        meeting: where the run meets its workers; it is closed with the carrier.
        local: does the rest, in this process.
    """

    def __init__(self, run: str, places: Places, meeting: Meeting, local: Executor) -> None:
        self._run = run
        self._places = places
        self._meeting = meeting
        self._local = local
        self._lock = threading.Lock()
        self._under_way: set[_Parcel] = set()
        #: The job that brings bytes, by index and round of the object and start of the range.
        self._bringing: dict[tuple[int, int, int], tuple[_Parcel, Transfer]] = {}
        self._busy: dict[str, int] = {}
        self._began_s = 0.0
        self._done = 0
        self._hearing = None if places.notices_silence else Hearing(BEAT_S)
        self._ended = threading.Event()
        self._here = Here(self._ended)
        #: Somebody has more to say than that the run goes on.
        self._is_due = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="kaiwo-carrier", daemon=True)

    @property
    def machines(self) -> int:
        """See ``Places``."""
        return self._places.machines

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Inside the block it works; afterwards nothing of the run goes on anywhere."""
        if not new_threads.start(self._thread):
            raise ServiceError("no thread can be started, which would hear the workers")
        try:
            with here(self._run, self._here):
                try:
                    yield
                finally:
                    self._end()
        finally:
            self._meeting.close()

    def _end(self) -> None:
        self._ended.set()
        self._is_due.set()
        self._meeting.end()
        with self._lock:
            left = [each.sent for each in self._under_way if each.sent is not None]
        for sent in left:
            sent.cancel()
        wait(left, ENDS_IN_S)
        self._thread.join(ENDS_IN_S)

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See ``Executor``."""
        job = args[0] if args else None
        if call is not run_job or not isinstance(job, BringingJob | CheckExisting):
            return self._local.submit(call, *args, **kwargs)
        how = args[1] if len(args) > 1 else AT_ONCE
        parcel = _Parcel(job, how if isinstance(how, Reading) else AT_ONCE)
        with self._lock:
            self._under_way.add(parcel)
            for each in transfers_of(job):
                self._bringing[_key(job, each)] = parcel, each
            self._began_s = time.monotonic()
        parcel.add_done_callback(lambda _: self._forget(parcel))
        if parcel.how.bandwidth is not None:
            self._is_due.set()  # others have a smaller share from now on
        self._send(parcel)
        return parcel

    def _forget(self, parcel: _Parcel) -> None:
        with self._lock:
            self._under_way.discard(parcel)
            self._done += 1
            for each in transfers_of(parcel.job):
                self._bringing.pop(_key(parcel.job, each), None)

    def _send(self, parcel: _Parcel) -> None:
        try:
            job = packed(parcel.job, parcel.how)
        except Exception as error:  # what a task of another package holds
            parcel.set_exception(faults.unpacked(error))
            return
        call = Call(self._run, self._meeting.folders, job, self._requests())
        try:
            sent = parcel.sent = self._places.submit(call)
        except Exception as error:  # each executor has its own
            parcel.set_exception(faults.broken(error))
            return
        sent.add_done_callback(partial(self._take, parcel))

    # --- what comes back

    def _take(self, parcel: _Parcel, sent: Future[Answer]) -> None:
        """A call has ended; in any thread."""
        if parcel.is_unwanted and sent.cancelled():
            return
        try:
            answer = sent.result()
        except (CancelledError, Exception) as error:
            found: tuple[Outcome, ...] | KaiwoError = self._of_lost(parcel.job, error)
        else:
            found = self._of_answer(parcel, answer)
        if isinstance(found, KaiwoError):
            parcel.set_exception(found)
        else:
            parcel.set_result(found)

    def _of_lost(self, job: Job, error: BaseException) -> tuple[Outcome, ...] | KaiwoError:
        """What an executor that has no answer means."""
        if self._ended.is_set():
            return UnfinishedError("the run is over")
        if isinstance(error, KaiwoError):
            return error
        if isinstance(error, BrokenExecutor):
            return faults.broken(error)
        lost = faults.lost(job, f"the worker is gone: {faults.described(error)}")
        return tuple(Outcome(each, error=lost) for each in transfers_of(job))

    def _of_answer(self, parcel: _Parcel, answer: Answer) -> tuple[Outcome, ...] | KaiwoError:
        if self._ended.is_set() and not answer.outcomes:
            return UnfinishedError("the run is over")
        if answer.unseen:
            return DiskError(
                f"a worker ({answer.worker}) does not see the download root: {answer.unseen}. All "
                "workers need the same folder at the same path"
            )
        if answer.version:
            return faults.other_version(answer.worker, answer.version)
        if answer.fault:
            return BugError(f"a worker ({answer.worker}) failed: {answer.fault}")
        bandwidth = parcel.how.bandwidth
        # In this process, who read the bytes has waited by the same clock.
        if bandwidth is not None and answer.worker and not parcel.how.piece:
            bandwidth.note(sum(each.bytes for each in answer.outcomes))
        outcomes = with_transfers(parcel.job, answer.outcomes)
        if self._ended.is_set():
            return outcomes
        return tuple(faults.of_mistaken(parcel.job, each) for each in outcomes)

    # --- what sites say meanwhile

    def _listen(self) -> None:
        redact.mark_thread()
        beaten_s, told = 0.0, 0
        while not self._ended.is_set():
            self._is_due.wait(LOOK_S + LOOK_S_EACH * len(self._busy))
            self._is_due.clear()
            for site, letter in self._meeting.letters():
                self._hear(site, letter)
            now_s, requests = time.monotonic(), self._requests()
            # Of threads of this process there are no letters.
            if self._hearing is not None and not self._here.has_calls:
                self._hearing.look(self._busy, len(self._under_way), self._done, now_s)
            if requests != told or now_s - beaten_s >= BEAT_S:
                self._meeting.beat(requests)
                beaten_s, told = now_s, requests

    def _requests(self) -> int:
        """How many jobs are under way somewhere: those that wait in the executor do not count.

        A site that is gone said how many it had, and does not take that back.
        """
        begun = sum(self._busy.values())
        with self._lock:
            is_settled = time.monotonic() - self._began_s >= _QUEUED_S
            sent = len(self._under_way)
            return min(begun, sent) if is_settled and begun else sent

    def _hear(self, site: str, letter: Letter) -> None:
        if self._hearing is not None:
            self._hearing.note(site)
        match letter:
            case Busy(jobs):
                self._busy[site] = jobs
            case Logged():
                letter.repeat(site)
            case Arrived():
                self._hear_of_bytes(letter)

    def _hear_of_bytes(self, letter: Arrived) -> None:
        found = self._bringing.get((letter.index, letter.round, letter.start))
        if found is None:
            return
        parcel, transfer = found
        mark = None
        if letter.mark is not None:
            end, algorithm, value = letter.mark
            mark = Mark(end, Crc(algorithm, value))
        if parcel.how.bandwidth is not None:
            parcel.how.bandwidth.note(letter.bytes)
        parcel.how.report(Progress(transfer, letter.start, letter.bytes, letter.kept, mark))


def _key(job: Job, transfer: Transfer) -> tuple[int, int, int]:
    return transfer.index, transfer.round, job.start if isinstance(job, Range) else 0
