"""What a worker process has of a run: opened by the first job that comes there.

    first job    the environment as kaiwo needs it, folders that stay open, log records that hold no
                 secret and go to the run; one thread, which reports and looks for the end
    each job     in the executor's thread, when it is its turn; asks between its steps whether the
                 run goes on
    the end      jobs end, sources are closed, all is as it was before

A run that is in the same process needs nothing of that.

Module state: the sites of this process, and the runs that are in it.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from kaiwo import environment, redact
from kaiwo._version import __version__
from kaiwo.errors import DiskError, LimitError
from kaiwo.files import new_threads
from kaiwo.files.kept_folders import kept_open
from kaiwo.jobs import Job, Outcome
from kaiwo.net import proxies
from kaiwo.protocols import Opener
from kaiwo.remote import saying
from kaiwo.remote.calls import Answer, Call, transfers_of, without_transfers
from kaiwo.remote.ending import EndElsewhere
from kaiwo.remote.meeting import Busy, Letter, LetterBox, unseen_of
from kaiwo.remote.turns import Turns
from kaiwo.workers.jobs import run as run_job
from kaiwo.workers.reading import Reading
from kaiwo.workers.source_cache import close_source, collect_sources
from kaiwo.workers.threads import Ending, working_until

#: How often a site reports, and how often it says at least how many jobs it has.
REPORT_S, BUSY_S = 0.1, 5.0
#: A site of a run that is over waits so long for its jobs before it closes what they use.
_ENDS_IN_S = 60.0


def carry(call: Call) -> Answer:
    """Do a call's job; never raises, for executors log what was called then.

    This is the function that executors are given.
    """
    where = f"{os.uname().nodename}, process {os.getpid()}"
    if call.version != __version__:
        return Answer(version=__version__, worker=where)
    try:
        return _carried(call, where)
    except LimitError as error:
        lost = (Outcome(each, error=error) for each in transfers_of(call.job()[0]))
        return Answer(without_transfers(tuple(lost)), worker=where)
    except DiskError as error:
        return Answer(unseen=error.message, worker=where)
    except BaseException as error:  # a panic in Rust is no Exception
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(last.filename)}:{last.lineno}"
        return Answer(fault=f"unforeseen {type(error).__name__} at {place}", worker=where)


def _carried(call: Call, where: str) -> Answer:
    job, how = call.job()
    if (run := _here.get(call.run)) is not None:
        run.has_calls = True
        with working_until(run.end), redact.marked():
            return Answer(without_transfers(run_job(job, how)))
    site = _sites.open(call, how)
    if site is None:
        return Answer(unseen=f"{unseen_of(call.folders) or call.folders[0]} is not there")
    site.end.requests = max(site.end.requests, call.requests)
    with site.turn(job, how), site.working(job, how):
        return Answer(without_transfers(run_job(job, how)), worker=where)


@dataclass(slots=True)
class Here:
    """A run of this process.

    Attributes:
        end: of the run.
        has_calls: some have come: its executor has threads of this process.
    """

    end: Ending
    has_calls: bool = False


#: The runs that are in this process, by their tokens.
_here: dict[str, Here] = {}


@contextlib.contextmanager
def here(token: str, run: Here) -> Iterator[None]:
    """Inside the block, the run of that token is in this process."""
    _here[token] = run
    try:
        yield
    finally:
        del _here[token]


class _Site:
    """One run in this process.

    Args:
        call: its first job.
        how: that is read; it says how the run reports, and its limit.
    """

    def __init__(self, call: Call, how: Reading) -> None:
        self.run = call.run
        self._folder = call.folders[0]
        self.end = EndElsewhere(self._folder)
        self._channel, self._bandwidth = how.channel, how.bandwidth
        self._lock = threading.Lock()
        self._turns: defaultdict[str, Turns] = defaultdict(Turns)
        self._jobs = 0
        self._told: int | None = None
        self._told_s = 0.0
        self._openers: set[Opener] = set()
        self._letters: list[Letter] = []
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
        self._box = LetterBox(self._folder, posixpath.basename(name))
        self._thread = threading.Thread(target=self._live, name="kaiwo-site", daemon=True)

    def start(self) -> None:
        """Return when it is ready.

        Raises:
            LimitError: this process may have no more threads.
        """
        if not new_threads.start(self._thread):
            raise LimitError("no thread can be started")
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def post(self, letter: Letter) -> None:
        """Say something to the run, soon."""
        self._letters.append(letter)

    def turn(self, job: Job, how: Reading) -> contextlib.AbstractContextManager[None]:
        """Inside the block, it is the turn of a job."""
        if not how.abreast:
            return contextlib.nullcontext()
        with self._lock:
            turns = self._turns[transfers_of(job)[0].opener.service]
        return turns.one(how.abreast, self.end)

    @contextlib.contextmanager
    def working(self, job: Job, how: Reading) -> Iterator[None]:
        """Inside the block, this thread does a job."""
        self._learn(how)
        with self._lock:
            self._jobs += 1
            self._openers.update(each.opener for each in transfers_of(job))
        self._share()
        try:
            with working_until(self.end), redact.marked():
                yield
        finally:
            with self._lock:
                self._jobs -= 1
            self._share()

    def _learn(self, how: Reading) -> None:
        """The limit of the run, which jobs that are read tell."""
        if self._bandwidth is None:
            self._bandwidth = how.bandwidth

    def _share(self) -> None:
        """Take the part of the limit that the requests of this process have of all."""
        jobs = self._jobs
        if self._bandwidth is not None and jobs:
            self._bandwidth.take_share(jobs / max(self.end.requests, jobs))

    def _live(self) -> None:
        """The thread of the site, from its beginning to its end."""
        with contextlib.ExitStack() as stack:
            try:
                self._enter(stack)
            except BaseException as error:  # the first job tells it
                self._failure = error
                return
            finally:
                self._ready.set()
            while not self.end.wait(REPORT_S):
                self._report()
            self._close()

    def _enter(self, stack: contextlib.ExitStack) -> None:
        """What holds in this process until the end."""
        stack.enter_context(environment.cleaned(proxies.canonical))
        stack.enter_context(redact.cleaning_log_records())
        stack.enter_context(kept_open())
        stack.enter_context(saying.logged(self.post))
        if self._channel is not None:
            stack.enter_context(saying.reported(self._channel, self.post))

    def _report(self) -> None:
        self._share()
        letters, self._letters = self._letters, []
        jobs, now_s = self._jobs, time.monotonic()
        # Who waits for these jobs wants to know that this process does not hang.
        if jobs != self._told or (jobs and now_s - self._told_s >= BUSY_S):
            self._told, self._told_s = jobs, now_s
            letters.append(Busy(jobs))
        if letters:
            self._box.post(letters)

    def _close(self) -> None:
        _sites.forget(self)
        # Closing a source ends the requests that jobs wait for.
        for opener in list(self._openers):
            close_source(opener)
        until_s = time.monotonic() + _ENDS_IN_S
        while self._jobs and time.monotonic() < until_s:
            time.sleep(REPORT_S)
        self._openers.clear()
        collect_sources()
        if self._bandwidth is not None:
            self._bandwidth.end()


class _Sites:
    """The sites of this process."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A forked child must not wait for a thread of its parent, nor use what is its parent's."""
        self._lock = threading.Lock()
        self._open: dict[str, _Site] = {}

    def open(self, call: Call, how: Reading) -> _Site | None:
        """The site of that call's run; None where the run is over, or its folders are not seen."""
        with self._lock:
            site = self._open.get(call.run)
            if site is None:
                if unseen_of(call.folders) is not None:
                    return None
                site = _Site(call, how)
                site.start()
                self._open[call.run] = site
        return site

    def forget(self, site: _Site) -> None:
        """It is over."""
        with self._lock:
            if self._open.get(site.run) is site:
                del self._open[site.run]


_sites = _Sites()
os.register_at_fork(after_in_child=_sites.renew)
os.register_at_fork(after_in_child=_here.clear)
