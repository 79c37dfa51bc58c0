"""A node's run, as Dask's worker carries it out: it ends when its client is silent."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kaiwo
from kaiwo.api import replica_node
from kaiwo.api.replica_rounds import ReplicaRounds
from kaiwo.errors import ServiceError
from kaiwo.jobs import RANGE
from kaiwo.replicas.calls import NodeCall, Work
from kaiwo.replicas.seats import SILENT_S, STEP_S, Served, seats
from tests.bench.machines import config_of
from tests.servers import paced
from tests.support.waiting import wait_until

SIZE = 3 * RANGE


class Stuck:
    """Connections of a server that sends the head of an answer, and then nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begun = self.ended = 0

    def carry(self, connection: socket.socket) -> None:
        """Until the other side closes."""
        with self._lock:
            self.begun += 1
        try:
            connection.recv(1)
        finally:
            with self._lock:
                self.ended += 1


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    found = Stuck()
    bucket = paced._Bucket  # noqa: SLF001
    send = bucket._send  # noqa: SLF001

    def stuck_send(self: Any, path: Path) -> None:
        self.line = SimpleNamespace(requests=0, carry=lambda _: found.carry(self.connection))
        send(self, path)

    monkeypatch.setattr(bucket, "_send", stuck_send)
    return found


@pytest.fixture
def call(stuck: Stuck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeCall]:
    """A plan of an object, as it goes to the node ``tcp://a``, whose disk is ``disk``."""
    works: list[Work] = []
    monkeypatch.setattr(ReplicaRounds, "_replicate", lambda _, work: works.append(work))
    monkeypatch.setattr(replica_node, "secede", lambda: None)
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "big").write_bytes(random.Random(1).randbytes(SIZE))
    with paced.paced(tmp_path / "bucket") as server:
        config = config_of(server["endpoint_url"], tmp_path / "client")
        kaiwo.download(config, dask="tcp://localhost:1", replicate=True, progress="none")
        monkeypatch.setenv("KAIWO_DOWNLOAD_ROOT", f"{tmp_path / 'disk'}")
        yield NodeCall("r", works[0].packed(), ("tcp://a",))


def test_a_node_ends_its_requests_when_the_client_is_silent(call: NodeCall, stuck: Stuck) -> None:
    seats.open("r", Served(SimpleNamespace(address="tcp://a")))  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(replica_node.run_node, call)
        wait_until(lambda: stuck.begun)
        for _ in range(int(SILENT_S / STEP_S)):
            seats.step(STEP_S)
        end = running.result(20)
        wait_until(lambda: stuck.ended == stuck.begun)
    # It can have the plan again, and is not what the client ends with, as if that had a signal.
    assert (end.is_unheard, end.exit_code) == (True, ServiceError.exit_code)
    assert type(end.error) is ServiceError
    assert seats.of("r") is None


def test_a_node_that_hears_of_the_run_goes_on() -> None:
    seat = Served(SimpleNamespace(address="tcp://a"))  # type: ignore[arg-type]
    seats.open("heard", seat)
    for _ in range(2):
        seats.step(SILENT_S - 2 * STEP_S)
        seat.hear(["tcp://a"])
    assert seats.of("heard") is seat
    seats.end("heard")
    assert seats.of("heard") is None
