"""The workers of a Dask cluster: each is a machine that has as many requests as one has alone.

    at the start   each worker is asked whether it sees the download root, has the secret files and
                   the same kaiwo; those that do not are left out
    a call         goes to the worker that has the fewest. There it leaves the worker's pool, which
                   has room for the next one then: so a worker of one thread has many requests
    joins          a worker that comes is asked as the others were, and gets calls
    leaves         the calls of a worker that is gone are lost, and the run sends their jobs again

Dask places nothing: each call names its worker. So no worker has more than its share, and it is
known what a worker had that is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from distributed import Client, secede

from kaiwo import redact, units
from kaiwo.errors import KaiwoError, ServiceError
from kaiwo.files import new_threads
from kaiwo.remote.calls import Answer, Call
from kaiwo.remote.probing import fault_of, probe
from kaiwo.remote.site import carry

#: How often the cluster is asked which workers it has.
_LOOK_S = 0.5
#: Once one worker can be used, others are waited for no longer than that.
_OTHERS_S = 5.0
logger = logging.getLogger(__name__)


class LostWorkerError(Exception):
    """A worker has left the cluster, with all that it had."""


def on_worker(call: Call) -> Answer:
    """Do a call on a worker of Dask, outside of its pool."""
    secede()
    return carry(call)


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


class Cluster:
    """Where calls go: the workers of a Dask cluster. Called from many threads.

    Args:
        client: of the cluster; it is not closed.
        folders: that each worker must see.
        secret_files: that each worker must be able to read.
        patience_s: a cluster without workers, or without an answer, is waited for so long.
    """

    def __init__(
        self,
        client: Client,
        folders: Sequence[str],
        secret_files: Sequence[str],
        patience_s: float,
    ) -> None:
        self._client = client
        self._asked = list(folders), list(secret_files)
        self._patience_s = patience_s
        #: Held again where Dask has done with a call when it is asked.
        self._lock = threading.RLock()
        self._workers: dict[str, _Worker] = {}
        self._probes: dict[str, Future[dict[str, Any]]] = {}
        self._refused: dict[str, KaiwoError] = {}
        self._waiting: list[tuple[Future[Answer], Call]] = []
        #: When there was last a worker to send calls to.
        self._had_s = time.monotonic()
        self._ended = threading.Event()
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
            ServiceError: there is none.
        """
        begun_s = time.monotonic()
        first_s: float | None = None
        while True:
            self._look()
            now_s = time.monotonic()
            first_s = first_s or (now_s if self._workers else None)
            if first_s is not None and (not self._probes or now_s - first_s >= _OTHERS_S):
                break
            if not self._workers and not self._probes and self._refused:
                raise next(iter(self._refused.values()))
            if now_s - begun_s >= max(self._patience_s, _OTHERS_S):
                raise ServiceError(
                    f"the Dask cluster at {self._name} has no worker that answers: "
                    f"{units.count(len(self._probes), 'worker')} asked"
                )
            self._ended.wait(0.02)
        if not new_threads.start(self._thread):
            raise ServiceError("no thread can be started, which would watch the cluster")

    def end(self) -> None:
        """No more calls come."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(_LOOK_S)

    @property
    def _name(self) -> str:
        return redact.url(str(getattr(self._client.scheduler, "address", "")))

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
            sent = worker.executor.submit(on_worker, call)
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

    def _watch(self) -> None:
        redact.mark_thread()
        while not self._ended.wait(_LOOK_S):
            try:
                self._look()
            except Exception as error:  # the connection is lost at this moment
                logger.debug("the Dask cluster was not looked at: %s", type(error).__name__)
            self._send_waiting()

    def _look(self) -> None:
        """Learn which workers there are."""
        found = self._found()
        if found is None:
            return
        for address in found:
            if address not in self._workers and address not in self._refused:
                self._probes.setdefault(address, self._ask(address))
        for address in [*self._workers, *self._probes, *self._refused]:
            if address not in found:
                self._lose(address)
        for address, asked in list(self._probes.items()):
            if asked.done():
                del self._probes[address]
                self._take_probe(address, asked)

    @property
    def _is_reached(self) -> bool:
        return bool(self._client.status == "running")

    def _found(self) -> Mapping[str, Any] | None:
        """The workers of the cluster; None where the scheduler does not answer."""
        if not self._is_reached:
            return None
        try:
            asked = getattr(self._client.scheduler, "identity", None)
            found: Mapping[str, Any] = self._client.sync(asked, n_workers=-1)["workers"]
        except Exception as error:  # any that a connection fails with
            logger.debug("the Dask scheduler does not answer: %s", type(error).__name__)
            return None
        return found

    def _executor(self, address: str) -> Executor:
        found: Executor = self._client.get_executor(
            pure=False, workers=[address], allow_other_workers=False
        )
        return found

    def _ask(self, address: str) -> Future[dict[str, Any]]:
        if address in self._probes:
            return self._probes[address]
        return self._executor(address).submit(probe, *self._asked)

    def _take_probe(self, address: str, asked: Future[dict[str, Any]]) -> None:
        fault = fault_of(address, asked)
        if fault is None:
            with self._lock:
                self._workers[address] = _Worker(address, self._executor(address))
            logger.debug("%s is a worker", address)
            return
        self._refused[address] = fault
        logger.warning("%s is not used: %s", address, fault.message)

    def _lose(self, address: str) -> None:
        """A worker is gone."""
        self._probes.pop(address, None)
        self._refused.pop(address, None)
        with self._lock:
            worker = self._workers.pop(address, None)
            left: dict[Future[Answer], Future[Answer]] = {}
            if worker is not None:
                left, worker.calls = worker.calls, {}
        if worker is None:
            return
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
