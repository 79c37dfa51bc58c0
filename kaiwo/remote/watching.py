"""The workers of a Dask cluster, as they come and go.

at the start   each worker is asked whether it can be used; those that cannot are left out
joins          a worker that comes is asked as the others were
leaves         who uses the workers is told
is silent      it has left: a process that hangs, a machine that is switched off; Dask itself waits
               minutes for these
comes back     by the same address, before anybody saw it leave: it has left, and another one joins
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from concurrent.futures import Executor, Future
from typing import Any

from distributed import Client

from kaiwo import redact, units
from kaiwo.errors import DeadlineError, KaiwoError, ServiceError
from kaiwo.remote.probing import fault_of, is_encrypted, without_tls
from kaiwo.remote.silence import Silence

#: How often the cluster is asked which workers it has.
LOOK_S = 0.5
#: Once one worker can be used, others are waited for no longer than that.
OTHERS_S = 5.0
#: After this time, the log says that a worker is waited for.
TOLD_S = 2.0
#: A worker that the scheduler has not heard for so long has left; of many, each is heard seldom.
SILENT_S, SILENT_S_EACH = 30.0, 0.1
logger = logging.getLogger(__name__)


class Workers(ABC):
    """The workers of a cluster.

    Args:
        client: of the cluster; it is not closed.
        patience_s: a cluster without workers, or without an answer, is waited for so long.
        until_s: the deadline of the run, by the monotonic clock.
        only_encrypted: others are not told a secret that jobs hold, and so are not used.
    """

    def __init__(
        self,
        client: Client,
        patience_s: float,
        *,
        until_s: float | None = None,
        only_encrypted: bool = False,
    ) -> None:
        self._client = client
        self._until_s = until_s
        self._only_encrypted = only_encrypted
        self._patience_s = patience_s
        self._probes: dict[str, Future[dict[str, Any]]] = {}
        self._refused: dict[str, KaiwoError] = {}
        #: Which process was asked at an address, as the scheduler tells them apart.
        self._processes: dict[str, tuple[Any, ...]] = {}
        self._silence = Silence(LOOK_S)
        self._ended = threading.Event()

    # --- what is done with them

    @property
    @abstractmethod
    def _used(self) -> Collection[str]:
        """The addresses of those that can be used."""

    @abstractmethod
    def _ask(self, address: str) -> Future[dict[str, Any]]:
        """Ask a worker whether it can be used, see ``probing``."""

    @abstractmethod
    def _use(self, address: str) -> None:
        """A worker can be used."""

    @abstractmethod
    def _leave(self, address: str) -> None:
        """A worker is gone that could be used."""

    # --- which there are

    def _wait_for_first(self) -> None:
        """Return when workers can be used.

        Raises:
            ConfigError: a worker has another kaiwo, or lacks a secret file, and none can be used.
            DiskError: no worker sees the download root.
            DeadlineError: the deadline passed before there was one.
            ServiceError: there is none.
        """
        begun_s = time.monotonic()
        first_s: float | None = None
        is_told = False
        while True:
            self._look()
            now_s = time.monotonic()
            first_s = first_s or (now_s if self._used else None)
            if first_s is not None and (not self._probes or now_s - first_s >= OTHERS_S):
                return
            if not self._used and not self._probes and self._refused:
                raise next(iter(self._refused.values()))
            if not is_told and not self._used and now_s - begun_s >= TOLD_S:
                is_told = True
                text = "no worker of the Dask cluster at %s yet: one is waited for up to %.0f s"
                logger.info(text, self._name, max(self._patience_s, OTHERS_S))
            if self._until_s is not None and now_s >= self._until_s and not self._used:
                text = f"the deadline passed before the Dask cluster at {self._name} had a worker"
                raise DeadlineError(text)
            if now_s - begun_s >= max(self._patience_s, OTHERS_S):
                raise ServiceError(
                    f"the Dask cluster at {self._name} has no worker that answers: "
                    f"{units.count(len(self._probes), 'worker')} asked"
                )
            self._ended.wait(0.02)

    @property
    def _name(self) -> str:
        return redact.url(str(getattr(self._client.scheduler, "address", "")))

    def _look(self) -> bool:
        """Learn which workers there are; returns whether the scheduler has said it."""
        found = self._found()
        if found is None:
            return False
        for address in found:
            if address not in (*self._used, *self._refused, *self._probes):
                self._meet(address, found[address])
        for address in [*self._used, *self._probes, *self._refused]:
            if address not in found:
                self._lose(address)
            elif self._processes.get(address) != _process(found[address]):
                self._lose(address)
                self._meet(address, found[address])
        for address, asked in list(self._probes.items()):
            if asked.done():
                del self._probes[address]
                self._take_probe(address, asked)
        return True

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
        return without_silent(found, self._silence, time.monotonic())

    def _executor(self, address: str) -> Executor:
        """Runs what it is given on that worker only."""
        found: Executor = self._client.get_executor(
            pure=False, workers=[address], allow_other_workers=False
        )
        return found

    def _meet(self, address: str, said: Mapping[str, Any]) -> None:
        """A process is there that was not asked yet."""
        self._processes[address] = _process(said)
        if self._only_encrypted and not is_encrypted(address):
            self._refuse(address, without_tls(address))
        else:
            self._probes[address] = self._ask(address)

    def _take_probe(self, address: str, asked: Future[dict[str, Any]]) -> None:
        fault = fault_of(address, asked)
        if fault is None:
            self._use(address)
            logger.debug("%s is a worker", address)
            return
        self._refuse(address, fault)

    def _refuse(self, address: str, fault: KaiwoError) -> None:
        self._refused[address] = fault
        logger.warning("%s is not used: %s", address, fault.message)

    def _lose(self, address: str) -> None:
        self._probes.pop(address, None)
        self._refused.pop(address, None)
        if address in self._used:
            self._leave(address)

    def _renew(self, address: str) -> None:
        """The process at this address has forgotten what it had."""
        self._lose(address)
        self._probes[address] = self._ask(address)


def without_silent(said: Mapping[str, Any], silence: Silence, now_s: float) -> dict[str, Any]:
    """The workers that the scheduler hears, which each say often that they live.

    Args:
        said: what the scheduler says of each.
        silence: of them, at the looks before.
        now_s: the time of the monotonic clock.
    """
    most_s = max(SILENT_S, len(said) * SILENT_S_EACH)
    before_s = silence.lengths_now_s
    silent_s = silence.lengths_s({name: said[name].get("last_seen") for name in said}, now_s)
    for address, length_s in silent_s.items():
        if before_s.get(address, 0.0) < most_s <= length_s:
            text = "%s has not been heard for %.0f s: it counts as gone until it is"
            logger.warning(text, address, length_s)
    return {name: said[name] for name, length_s in silent_s.items() if length_s < most_s}


def _process(said: Mapping[str, Any]) -> tuple[Any, ...]:
    """Tells the processes that had an address apart: each has a new folder, if not a new name."""
    return said.get("id"), said.get("local_directory")
