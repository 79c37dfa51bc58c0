"""The workers of a Dask cluster: each is a machine that has as many requests as one has alone.

    at the start   each worker is asked whether it sees the download root, has the secret files and
                   the same kaiwo; those that do not are left out
    a call         goes to the worker that has the fewest. There it leaves the worker's pool, which
                   has room for the next one then: so a worker of one thread has many requests, and
                   some more calls, which wait for their turn
    joins          a worker that comes is asked as the others were, and gets calls
    leaves         the calls of a worker that is gone are lost, and the run sends their jobs again;
                   so are those of one that has been silent for half a minute

Dask places nothing: each call names its worker. So no worker has more than its share, and it is
known what a worker had that is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from distributed import Client

from kaiwo import redact, units
from kaiwo.errors import ServiceError
from kaiwo.files import new_threads
from kaiwo.remote import own_thread
from kaiwo.remote.calls import Answer, Call
from kaiwo.remote.probing import probe
from kaiwo.remote.site import carry
from kaiwo.remote.watching import LOOK_S, Workers

logger = logging.getLogger(__name__)


class LostWorkerError(Exception):
    """A worker has left the cluster, with all that it had."""


class _Worker:
    """A worker of the cluster.

    Args:
        address: of the worker.
        executor: runs what it is given on this worker only.

    Attributes:
        calls: that it has, each with what Dask gave for it.
    """

    def __init__(self, address: str, executor: Executor) -> None:
        self.address = address
        self.executor = executor
        self.calls: dict[Future[Answer], Future[Answer]] = {}


class Cluster(Workers):
    """Where calls go: the workers of a Dask cluster. Called from many threads.

    Args:
        client: of the cluster; it is not closed.
        folders: that each worker must see.
        secret_files: that each worker must be able to read.
        patience_s: a cluster without workers, or without an answer, is waited for so long.
        until_s: see ``Workers``.
        only_encrypted: see ``Workers``.
    """

    are_ahead = True
    notices_silence = True

    def __init__(
        self,
        client: Client,
        folders: Sequence[str],
        secret_files: Sequence[str],
        patience_s: float,
        *,
        until_s: float | None = None,
        only_encrypted: bool = False,
    ) -> None:
        super().__init__(client, patience_s, until_s=until_s, only_encrypted=only_encrypted)
        self._asked = list(folders), list(secret_files)
        #: Held again where Dask has done with a call when it is asked.
        self._lock = threading.RLock()
        self._workers: dict[str, _Worker] = {}
        self._waiting: list[tuple[Future[Answer], Call]] = []
        #: When there was last a worker to send calls to.
        self._had_s = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="kaiwo-cluster", daemon=True)

    @property
    def machines(self) -> int:
        """How many workers can be used now."""
        return len(self._workers)

    def begin(self) -> None:
        """Return when workers can be used.

        Raises:
            ConfigError: a worker has another kaiwo, or lacks a secret file, and none can be used.
            DiskError: no worker sees the download root.
            DeadlineError: the deadline passed before there was one.
            ServiceError: there is none.
        """
        self._wait_for_first()
        if not new_threads.start(self._thread):
            raise ServiceError("no thread can be started, which would watch the cluster")

    def end(self) -> None:
        """No more calls come."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(LOOK_S)

    # --- calls

    def submit(self, call: Call) -> Future[Answer]:
        """See ``Places``."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()  # what a worker has begun, it ends
        with self._lock:
            if self._is_reached and self._workers:
                self._send(future, call)
            else:
                self._waiting.append((future, call))
        return future

    def _send(self, future: Future[Answer], call: Call) -> None:
        """Give a call to the worker that has the fewest; the lock is held."""
        worker = min(self._workers.values(), key=lambda each: len(each.calls))
        try:
            sent = own_thread.submit(worker.executor, carry, call)
        except Exception:  # the connection is lost at this moment
            self._waiting.append((future, call))
            return
        worker.calls[future] = sent
        sent.add_done_callback(partial(self._take, worker, future))

    def _take(self, worker: _Worker, future: Future[Answer], sent: Future[Answer]) -> None:
        """Dask has done with a call."""
        with self._lock:
            if future not in worker.calls:
                return  # its worker was gone
            del worker.calls[future]
        if sent.cancelled():
            future.set_exception(LostWorkerError("the cluster has dropped the job"))
        elif (error := sent.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(sent.result())

    # --- workers that come and go

    @property
    def _used(self) -> Collection[str]:
        return self._workers.keys()

    def _watch(self) -> None:
        redact.mark_thread()
        while not self._ended.wait(LOOK_S):
            try:
                self._look()
            except Exception as error:  # the connection is lost at this moment
                logger.debug("the Dask cluster was not looked at: %s", type(error).__name__)
            self._send_waiting()

    def _ask(self, address: str) -> Future[dict[str, Any]]:
        return self._executor(address).submit(probe, *self._asked)

    def _use(self, address: str) -> None:
        with self._lock:
            self._workers[address] = _Worker(address, self._executor(address))

    def _leave(self, address: str) -> None:
        with self._lock:
            worker = self._workers.pop(address)
            left, worker.calls = worker.calls, {}
        text = "%s has left the cluster: what it had under way (%s) goes to others"
        logger.warning(text, address, units.count(len(left), "request"))
        for future, sent in left.items():
            sent.cancel()  # Dask would do it again on a worker that comes by this address
            future.set_exception(LostWorkerError(f"{address} has left the cluster"))

    def _send_waiting(self) -> None:
        """Send what waits for a worker; nothing waits longer than the run has patience."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            now_s = time.monotonic()
            if self._is_reached and self._workers:
                self._had_s = now_s
                for future, call in waiting:
                    self._send(future, call)
                return
            if now_s - self._had_s < self._patience_s:
                self._waiting = waiting
                return
        what = "it has no worker left" if self._is_reached else "its scheduler does not answer"
        error = ServiceError(
            f"the Dask cluster at {self._name} does no more work: {what}. Start it again; kaiwo "
            "then resumes"
        )
        for future, _ in waiting:
            future.set_exception(error)
