"""The nodes of a run, as its client sees them: workers that forget it, come back, leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from kaiwo.api.replica_rounds import ReplicaRounds
from kaiwo.errors import DiskError, ServiceError
from kaiwo.objects import Item
from kaiwo.remote import watching
from kaiwo.remote.probing import probe
from kaiwo.replicas import nodes
from kaiwo.replicas.calls import NodeCall, NodeEnd, Told, Work, packed, unheard
from kaiwo.replicas.nodes import Nodes
from kaiwo.replicas.serving import open_node
from tests.support.waiting import wait_until

ENDS_S = 20.0


class Process(Executor):
    """A worker: what it knows of the run, and what was sent there."""

    def __init__(self, cluster: Cluster, address: str) -> None:
        self.cluster, self.address = cluster, address
        self.knows = False
        self.runs: list[Future[NodeEnd]] = []

    def submit(self, function: Callable[..., Any], /, *_: Any, **__: Any) -> Future[Any]:
        """See ``Executor``: it is done by the process that has this address then."""
        found: Future[Any] = Future()
        if function is open_node:
            self.cluster.processes[self.address].knows = True
            found.set_result(probe((), ()))
        else:
            self.cluster.processes[self.address].runs.append(found)
        return found


class Cluster:
    """A client of Dask, whose workers are these processes; they do what the test says."""

    status = "running"

    def __init__(self, *addresses: str) -> None:
        self.asyncio_loop = asyncio.new_event_loop()
        self.loop = self.scheduler = self
        self.processes: dict[str, Process] = {}
        self.folders: dict[str, str] = {}
        self._count = 0
        for each in addresses:
            self.start(each)
        self._thread = threading.Thread(target=self.asyncio_loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, address: str) -> Process:
        """A new process at that address."""
        found = self.processes[address] = Process(self, address)
        self._count += 1
        self.folders[address] = f"worker-{self._count}"
        return found

    identity = None

    def sync(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        """See ``distributed.Client``."""
        said = {
            each: {"id": each, "local_directory": self.folders[each]} for each in self.processes
        }
        return {"workers": said}

    def get_executor(self, workers: list[str], **_: Any) -> Executor:
        """See ``distributed.Client``."""
        return self.processes[workers[0]]

    async def broadcast(self, workers: list[str], **_: Any) -> Mapping[str, Any]:
        """See ``distributed.Scheduler``."""
        found = self.processes.get(workers[0])
        if found is None:
            return {}
        return {workers[0]: {"told": packed(Told())} if found.knows else {}}

    def close(self) -> None:
        """No more of it."""
        self.asyncio_loop.call_soon_threadsafe(self.asyncio_loop.stop)
        self._thread.join(ENDS_S)
        self.asyncio_loop.close()


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "LOOK_S", 0.01)
    monkeypatch.setattr(nodes, "TELL_S", 0.01)
    monkeypatch.setattr(nodes, "STEP_S", 0.005)
    monkeypatch.setattr(watching, "OTHERS_S", 1.0)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster("tcp://a", "tcp://b")
    yield found
    found.close()


def carried_out(cluster: Cluster) -> tuple[Nodes, Future[None]]:
    """The nodes of a run that goes on in a thread, once all have the plan."""

    def run_node(_: NodeCall) -> NodeEnd:
        raise NotImplementedError

    sink = SimpleNamespace(emit=lambda _: None)
    found = Nodes(cluster, "r", Work(None, ()), run_node, (), sink, 5.0, None)  # type: ignore[arg-type]
    pool = ThreadPoolExecutor(1)
    ended = pool.submit(found.carry_out)
    pool.shutdown(wait=False)
    for each in [*cluster.processes.values()]:
        wait_until(lambda each=each: each.runs)  # type: ignore[misc]
    return found, ended


def states(found: Nodes) -> list[tuple[str, str]]:
    return [(each.address, each.outcome.state) for each in found.seen]


def test_a_process_that_comes_by_the_address_of_one_that_died_gets_the_plan(
    cluster: Cluster,
) -> None:
    found, ended = carried_out(cluster)
    new = cluster.start("tcp://b")  # nobody has seen that the first one was gone
    wait_until(lambda: new.runs)
    for each in cluster.processes.values():
        each.runs[0].set_result(NodeEnd(0))
    ended.result(ENDS_S)
    assert states(found) == [
        ("tcp://a", "complete"),
        ("tcp://b", "gone"),
        ("tcp://b", "complete"),
    ]


@pytest.mark.parametrize("says", ["at its end", "when asked"])
def test_a_process_that_does_not_know_the_run_gets_the_plan_again(
    cluster: Cluster, says: str
) -> None:
    found, ended = carried_out(cluster)
    other = cluster.processes["tcp://b"]
    if says == "when asked":
        other.knows = False
    else:
        other.runs[0].set_result(unheard())
    wait_until(lambda: len(other.runs) > 1)
    cluster.processes["tcp://a"].runs[0].set_result(NodeEnd(0))
    other.runs[1].set_result(NodeEnd(0))
    ended.result(ENDS_S)
    assert states(found)[1:] == [("tcp://b", "gone"), ("tcp://b", "complete")]


def test_a_node_that_never_hears_of_the_run_fails(cluster: Cluster) -> None:
    found, ended = carried_out(cluster)
    deaf = cluster.processes["tcp://b"]
    answers = cluster.broadcast

    async def broadcast(workers: list[str], **options: Any) -> Mapping[str, Any]:
        return {} if workers == ["tcp://b"] else await answers(workers, **options)

    cluster.broadcast = broadcast  # type: ignore[method-assign]
    cluster.processes["tcp://a"].runs[0].set_result(NodeEnd(0))
    for count in range(nodes.MOST_UNANSWERED + 1):
        wait_until(lambda count=count: len(deaf.runs) > count)  # type: ignore[misc]
        deaf.runs[count].set_result(unheard())
    wait_until(lambda: found.seen[-1].outcome.error)
    deaf.knows = False
    cluster.broadcast = answers  # type: ignore[method-assign]
    ended.result(ENDS_S)
    (*_, last) = found.seen
    assert (last.outcome.state, last.outcome.exit_code) == ("failed", ServiceError.exit_code)


@pytest.mark.parametrize("of_run", [True, False], ids=["of the run", "of an object"])
def test_the_failure_of_a_node_that_leaves_is_kept_and_said(
    cluster: Cluster, of_run: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found, ended = carried_out(cluster)
    failure = DiskError("no space left")
    item = Item("t", "s", "/d/s", "failed", 0, error=failure)
    end = NodeEnd(4, error=failure) if of_run else NodeEnd(4, items=[item])
    cluster.processes["tcp://b"].runs[0].set_result(end)
    wait_until(lambda: found.seen[1].is_settled)
    del cluster.processes["tcp://b"]
    wait_until(lambda: found.seen[1].outcome.state == "gone")
    cluster.processes["tcp://a"].runs[0].set_result(NodeEnd(0))
    ended.result(ENDS_S)
    gone = found.seen[1]
    assert (gone.outcome.error, gone.outcome.exit_code, gone.items) == (failure, 4, ())
    assert "tcp://b had failed, and has left the run" in caplog.text
    assert "no space left" in caplog.text
    nothing: Any = None
    rounds = ReplicaRounds(nothing, nothing, nothing, None, raises=False)
    rounds._nodes = found.seen  # noqa: SLF001
    report = rounds.report()
    assert (report.exit_code, report.error, report.nodes[1].error) == (0, None, failure)
