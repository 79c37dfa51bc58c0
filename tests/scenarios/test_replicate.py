"""``--replicate``: every part leaves the store once, and arrives on the disk of each worker."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.events import Event
from tests.bench.machines import Trigger, config_of, sent
from tests.servers.paced import paced
from tests.support.command import tree
from tests.support.dask_cluster import Machines, three_machines
from tests.support.generations import fill

MIB = 1 << 20
CHANCE = random.Random(29)
SIZES = (20 * MIB, 9 * MIB, *(1000 + each for each in range(100)))
OBJECTS = {f"{number:03}": CHANCE.randbytes(size) for number, size in enumerate(SIZES)}
TOTAL = sum(SIZES)


def trees(machines: Machines, below: str) -> dict[str, dict[str, bytes]]:
    """What is on the disk of each worker that lives."""
    return {name: tree(disk / below) for name, disk in machines.living.items()}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    make, places = tmp_path_factory.mktemp, {"KAIWO_DOWNLOAD_ROOT": ""}
    with three_machines(make("dask"), make("disks"), places) as found:
        yield found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    fill(folder, OBJECTS)
    return folder


def below(address: str, target: str) -> dict[str, Any]:
    """Everything into a folder of that name, below each worker's own root."""
    config = config_of(address, Path("not-here"))
    config["download_items"][0]["buckets"][0]["items"][0]["target_path"] = target
    return config


def test_every_part_leaves_the_store_once_and_is_on_each_disk(
    machines: Machines, shelf: Path
) -> None:
    with paced(shelf) as server:
        address = server["endpoint_url"]
        config = below(address, "first")
        options: dict[str, Any] = {"dask": machines.cluster.address, "replicate": True}
        report = kaiwo.download(config, **options)
        report.raise_for_failures()
        assert trees(machines, "first") == dict.fromkeys(machines.cluster.workers, OBJECTS)
        assert sent(address) <= 1.02 * TOTAL
        assert [each.state for each in report.nodes] == ["complete"] * 3
        assert {each.root for each in report.nodes} == {
            f"{machines.disks[n]}" for n in machines.disks
        }
        assert sum(each.store_bytes for each in report.nodes) == report.transferred_bytes
        assert {each.store_bytes + each.peer_bytes for each in report.nodes} == {TOTAL}
        assert len(report.items) == len(OBJECTS)
        assert {each["state"] for each in report.to_dict()["nodes"]} == {"complete"}
        before = sent(address)
        again = kaiwo.download(config, **options)
        assert {each.status for each in again.items} == {"unchanged"}
        assert sent(address) == before


class Replacing:
    """A sink that kills a worker when so many bytes have come, and has another one join."""

    def __init__(self, machines: Machines, at: int) -> None:
        self._machines = machines
        self._trigger = Trigger(at, lambda: None)
        self.new = ""

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``; the client waits, and the nodes go on."""
        self._trigger.emit(event)
        if self._trigger.is_done and not self.new:
            self._machines.cluster.kill(next(iter(self._machines.cluster.workers)))
            self.new = self._machines.add()
            self._machines.cluster.wait_for_workers()


def test_one_is_killed_and_another_one_joins(machines: Machines, shelf: Path) -> None:
    with paced(shelf, whole=6 * MIB) as server:
        sink = Replacing(machines, TOTAL // 2)
        report = kaiwo.download(
            below(server["endpoint_url"], "second"),
            dask=machines.cluster.address,
            replicate=True,
            sink=sink,
        )
        report.raise_for_failures()
        assert sent(server["endpoint_url"]) <= 1.02 * TOTAL + 64 * MIB
    assert trees(machines, "second") == dict.fromkeys(machines.cluster.workers, OBJECTS)
    states = {each.root: each.state for each in report.nodes}
    assert [*states.values()].count("gone") == 1
    assert states[f"{machines.disks[sink.new]}"] == "complete"


def test_urls_are_fetched_onto_each_disk(machines: Machines, shelf: Path) -> None:
    with paced(shelf) as server:
        path = kaiwo.fetch(
            "s3://bucket/002",
            "third/",
            dask=machines.cluster.address,
            replicate=True,
            endpoint_url=server["endpoint_url"],
            anonymous=True,
            region="us-east-1",
        )
    assert [*trees(machines, "third").values()] == [{"002": OBJECTS["002"]}] * 3
    assert path == Path.cwd() / "third/002"
    assert not path.exists()


def test_a_node_that_fails_fails_alone(machines: Machines, shelf: Path) -> None:
    bad, *good = machines.cluster.workers
    (machines.disks[bad] / "fourth").write_bytes(b"no folder")
    with paced(shelf) as server:
        config = below(server["endpoint_url"], "fourth")
        item = {"file": "002", "target_path": "fourth/002"}
        config["download_items"][0]["buckets"][0]["items"] = [item]
        report = kaiwo.download(config, dask=machines.cluster.address, replicate=True)
    assert report.exit_code == 2
    states = {each.root: each.state for each in report.nodes}
    assert states[f"{machines.disks[bad]}"] == "failed"
    for name in good:
        assert states[f"{machines.disks[name]}"] == "complete"
        assert tree(machines.disks[name] / "fourth") == {"002": OBJECTS["002"]}
    with pytest.raises(kaiwo.KaiwoError, match="on tcp://"):
        report.raise_for_failures()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "replicate needs dask"),
        ({"dask": "tcp://localhost:1", "shard": "0/2"}, "replicate and shard"),
        ({"dask": "tcp://localhost:1", "max_bandwidth": "1M"}, "replicate and max_bandwidth"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    config = config_of("http://localhost:1", tmp_path)
    with pytest.raises(kaiwo.ConfigError, match=told) as raised:
        kaiwo.download(config, replicate=True, **options)
    assert raised.value.exit_code == 2
