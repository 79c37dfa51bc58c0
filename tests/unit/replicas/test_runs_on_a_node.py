"""A node's run, as Dask's worker carries it out: it ends when its client is silent."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kaiwo
from kaiwo.api import replica_node
from kaiwo.api.replica_rounds import ReplicaRounds
from kaiwo.errors import ServiceError
from kaiwo.jobs import RANGE
from kaiwo.protocols import Buffer
from kaiwo.replicas.blocks import Block, ranked
from kaiwo.replicas.calls import NodeCall, Work
from kaiwo.replicas.members import Members
from kaiwo.replicas.node import NotHereError
from kaiwo.replicas.seats import SILENT_S, STEP_S, Served, seats
from tests.bench.machines import config_of
from tests.servers import paced
from tests.support.command import tree
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
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., NodeCall]]:
    """Plans of objects, as they go to the node ``tcp://a``, whose disk is ``disk``."""
    works: list[Work] = []
    monkeypatch.setattr(ReplicaRounds, "_replicate", lambda _, work: works.append(work))
    monkeypatch.setenv("KAIWO_DOWNLOAD_ROOT", f"{tmp_path / 'disk'}")
    (tmp_path / "bucket").mkdir()

    def planned(objects: dict[str, bytes], *nodes: str, **options: Any) -> NodeCall:
        for key, data in objects.items():
            (tmp_path / "bucket" / key).write_bytes(data)
        config = config_of(
            servers.enter_context(paced.paced(tmp_path / "bucket"))["endpoint_url"],
            tmp_path / "client",
        )
        options |= {"dask": "tcp://localhost:1", "replicate": True, "progress": "none"}
        kaiwo.download(config, **options)
        return NodeCall("r", works[0].packed(), nodes)

    with ExitStack() as servers:
        yield planned


def seat_of(run: str) -> Served:
    """Be the node ``tcp://a`` of that run."""
    seat = Served(SimpleNamespace(address="tcp://a"))  # type: ignore[arg-type]
    seats.open(run, seat)
    return seat


def test_a_node_ends_its_requests_when_the_client_is_silent(
    plan: Callable[..., NodeCall], stuck: Stuck
) -> None:
    call = plan({"big": random.Random(1).randbytes(SIZE)}, "tcp://a")
    seat_of("r")
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
    seat = seat_of("heard")
    for _ in range(2):
        seats.step(SILENT_S - 2 * STEP_S)
        seat.hear(["tcp://a"])
    assert seats.of("heard") is seat
    seats.end("heard")
    assert seats.of("heard") is None


class NobodyGives:
    """Other nodes that give nothing.

    Attributes:
        had: what this node had from the store when it asked for the first time.
    """

    had: int | None = None

    def __init__(self, worker: Any, run: str, members: Members) -> None:
        pass

    def ask(self, *_: Any, **__: Any) -> Buffer:
        """See ``node.Peers``."""
        served = seats.of("r")
        if NobodyGives.had is None and served is not None and served.node is not None:
            NobodyGives.had = served.node.brought.store
        raise NotHereError


def test_small_objects_that_a_node_owns_come_first(
    plan: Callable[..., NodeCall], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_node, "DaskPeers", NobodyGives)
    objects = {f"{number:02}": b"x" * (100 + number) for number in range(60)}
    call = plan(objects, "tcp://a", "tcp://b", max_workers=1)
    seat_of("r")
    end = replica_node.run_node(call)
    seats.end("r")
    assert end.exit_code == 0
    assert tree(tmp_path / "disk")["00"] == objects["00"]
    # All nodes have the same order: else they wait for each other, again and again.
    owners = [ranked(Block(number, 0), ["tcp://a", "tcp://b"])[0] for number in range(60)]
    owned = [100 + number for number, owner in enumerate(owners) if owner == "tcp://a"]
    assert 10 < len(owned) < 50
    assert NobodyGives.had == sum(owned)
