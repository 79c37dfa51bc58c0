"""``--replicate`` of a repository: each byte leaves the Hub once, and all nodes have its files."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.events import Event, Progressed
from tests.support import stores
from tests.support.command import tree
from tests.support.dask_cluster import Machines, three_machines
from tests.support.hubs import Hub

MIB = 1 << 20
TOKEN = "hf_right"
CHANCE = random.Random(31)
#: Named by git's sha1, by sha256, and by sha256 with Xet beside it.
SMALL = {f"config/{number:02}.json": CHANCE.randbytes(2000 + number) for number in range(30)}
LARGE = {
    "model-1.safetensors": CHANCE.randbytes(20 * MIB + 3),
    "model-2.bin": CHANCE.randbytes(MIB),
}
FILES = {**SMALL, **LARGE, "empty.txt": b""}
TOTAL = sum(map(len, FILES.values()))


@pytest.fixture(scope="module")
def one_hub() -> Iterator[Hub]:
    with stores.hub(f"--token={TOKEN}", "--xet", f"--rate={4 * MIB}") as store:
        store.fill("acme/net", FILES)
        yield Hub(store)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    make, places = tmp_path_factory.mktemp, {"KAIWO_DOWNLOAD_ROOT": "root", "HF_HOME": "home"}
    with three_machines(make("dask"), make("disks"), places) as found:
        yield found


class Killing:
    """A sink that kills a node when bytes have come; the client waits, and the others go on."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self.is_done = False

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if isinstance(event, Progressed) and not self.is_done:
            self.is_done = True
            self._machines.cluster.kill(next(iter(self._machines.cluster.workers)))


def names_of(data: bytes) -> set[str]:
    """How git, and git-lfs, name a file."""
    blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False)
    return {blob.hexdigest(), hashlib.sha256(data).hexdigest()}


def tasks(hub: Hub, folder: Path, *places: dict[str, Any]) -> list[dict[str, Any]]:
    """All of the repository, with a token that each node reads itself."""
    (folder / "token").write_text(TOKEN)
    secret: dict[str, Any] = {"token": None, "token_file": f"{folder / 'token'}"}
    return [hub.store.task("acme/net", (), **place, **secret) for place in places]


def test_folders_on_each_node(machines: Machines, hub: Hub, tmp_path: Path) -> None:
    ways = ["auto", "xet"]
    places = [{"target_path": each, "transport": each} for each in ways]
    config = {"download_items": tasks(hub, tmp_path, *places)}
    report = kaiwo.download(config, dask=machines.cluster.address, replicate=True)
    report.raise_for_failures()
    for disk in machines.living.values():
        assert [tree(disk / "root" / each) for each in ways] == [FILES, FILES]
    # Each task has a source with other rights, so nothing is shared between tasks.
    assert hub.ask("stats")["sent"] <= 1.02 * 2 * TOTAL
    assert hub.counts()["xorbs"] == 0, "Xet gives no parts"
    assert {each.store_bytes + each.peer_bytes for each in report.nodes} == {2 * TOTAL}
    assert all(each.verified for each in report.items if each.bytes)


def test_the_cache_of_each_node_though_one_of_them_dies(
    machines: Machines, hub: Hub, tmp_path: Path
) -> None:
    config = {"download_root": f"{tmp_path}", "download_items": tasks(hub, tmp_path, {})}
    options: dict[str, Any] = {"dask": machines.cluster.address, "replicate": True}
    killing = Killing(machines)
    report = kaiwo.download(config, **options, sink=killing)
    report.raise_for_failures()
    assert killing.is_done
    assert sorted(each.state for each in report.nodes) == ["complete", "complete", "gone"]
    left = [each.store_bytes for each in report.nodes if each.state == "complete"]
    assert sum(left) <= 1.02 * TOTAL, "those that live read twice what one of them had"
    assert hub.ask("stats")["sent"] <= 1.5 * TOTAL, "more than the dead one had of its third"
    for disk in machines.living.values():
        (folder,) = (disk / "home/hub").glob("models--*")
        commit = (folder / "refs/main").read_text()
        assert tree(folder / "snapshots" / commit) == FILES
        for blob in (folder / "blobs").iterdir():
            assert blob.name in names_of(blob.read_bytes())
    hub.ask("reset")
    again = kaiwo.download(config, **options)
    assert {each.status for each in again.items} == {"unchanged"}
    assert hub.ask("stats")["sent"] == 0
