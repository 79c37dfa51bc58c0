"""The workers of a cluster, as its scheduler names them: what is sent there, and what is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from kaiwo.errors import ConfigError, DeadlineError
from kaiwo.remote.calls import Answer, Call
from kaiwo.remote.cluster import Cluster, LostWorkerError
from kaiwo.remote.probing import probe
from tests.support.waiting import wait_until

PATIENCE_S = 5.0
CALL = Call("ab", (), b"")


class Worker(Executor):
    """What a client gives for a worker; calls are done at once, or never."""

    def __init__(self, *, is_quick: bool) -> None:
        self.is_quick = is_quick
        self.sent: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        """See ``Executor``."""
        future: Future[Any] = Future()
        if function is probe:
            future.set_result(probe(*args))
        elif self.is_quick:
            future.set_result(Answer(worker="w"))
        else:
            self.sent.append(future)
        return future


class Client:
    """A client of a scheduler, which has told the addresses of its workers."""

    status = "running"
    scheduler = None

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.addresses: Any = ["tcp://w"]
        #: What tells the processes at an address apart.
        self.process = "1"
        self.given: list[Any] = []

    def sync(self, *_: Any, **__: Any) -> dict[str, Any]:
        """See ``distributed.Client``."""
        return {"workers": {each: {"id": self.process} for each in self.addresses}}

    def get_executor(self, *, workers: Any = None, **_: Any) -> Executor:
        """See ``distributed.Client``."""
        self.given += workers
        if self.addresses == ["tcp://lost"]:
            raise RuntimeError("the client is closed")
        return self.worker


@pytest.fixture(params=[True, False], ids=["quick", "slow"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(Worker(is_quick=request.param))


@pytest.fixture
def cluster(client: Client) -> Iterator[Cluster]:
    found = Cluster(client, (), (), PATIENCE_S)  # type: ignore[arg-type]
    found.begin()
    yield found
    found.end()


@pytest.mark.parametrize("client", [True], indirect=True)
def test_a_call_that_is_done_when_it_is_sent_is_taken(cluster: Cluster) -> None:
    taken: list[Answer] = []
    thread = threading.Thread(
        target=lambda: taken.append(cluster.submit(CALL).result(PATIENCE_S)), daemon=True
    )
    thread.start()
    thread.join(PATIENCE_S)
    assert taken == [Answer(worker="w")]


@pytest.mark.parametrize("client", [False], indirect=True)
def test_a_lost_worker_is_not_asked_again_and_a_failed_look_is_not_the_last(
    cluster: Cluster, client: Client
) -> None:
    future = cluster.submit(CALL)
    client.addresses = ["tcp://lost"]  # which cannot be asked
    with pytest.raises(TimeoutError):
        future.result(1.2)
    client.addresses = []
    with pytest.raises(LostWorkerError):
        future.result(PATIENCE_S)
    # Dask would do it on a worker that comes by the same address.
    assert [each.cancelled() for each in client.worker.sent] == [True]


def test_a_worker_without_tls_is_told_no_secret() -> None:
    client = Client(Worker(is_quick=True))
    found = Cluster(client, (), (), PATIENCE_S, only_encrypted=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"tcp://w does not use TLS.*a field \.\.\._file"):
        found.begin()
    client.addresses = ["tcp://w", "tls://w"]
    found.begin()
    before, client.process = len(client.given), "2"  # both are started again
    wait_until(lambda: len(client.given) == 2 * before, "nobody is asked again", PATIENCE_S)
    found.end()
    assert found.machines == 1
    assert set(client.given) == {"tls://w"}


def test_a_cluster_without_workers_is_not_waited_for_beyond_the_deadline() -> None:
    client = Client(Worker(is_quick=True))
    client.addresses = []
    until_s = time.monotonic() + 0.2
    found = Cluster(client, (), (), 60.0, until_s=until_s)  # type: ignore[arg-type]
    with pytest.raises(DeadlineError, match="before the Dask cluster"):
        found.begin()
