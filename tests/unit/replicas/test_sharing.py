"""Nodes of one process, which ask each other without a cluster: who reads what from the store."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.api.replica_events import NodeSink
from kaiwo.errors import TransientError, WrongBytesError
from kaiwo.events import Retried
from kaiwo.jobs import RANGE, Crc, Mark, Transfer
from kaiwo.objects import Checksum, ReadAs, RemoteObject, as_read
from kaiwo.protocols import Buffer
from kaiwo.replicas import demands, memory, proving
from kaiwo.replicas.blocks import Block, ranked
from kaiwo.replicas.members import Members
from kaiwo.replicas.node import Node, NotHereError
from kaiwo.replicas.sharing import SharedOpener, SharedSource
from kaiwo.replicas.shelf import Has, Shelf
from tests.support.waiting import wait_until

DATA = random.Random(41).randbytes(2 * RANGE + 1000)
REMOTE = RemoteObject("big", len(DATA), etag="one")
BLOCKS = [Block(0, part) for part in range(3)]


class Store:
    """A source with one object, which counts what it gives."""

    def __init__(self) -> None:
        self.reads: list[tuple[int, int]] = []
        self.answers: list[bytes] = []
        self.gate = threading.Event()
        self.gate.set()

    def read(self, _: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        self.reads.append((start, end))
        assert self.gate.wait(60)
        return self.answers.pop(0) if self.answers else DATA[start:end]

    def stream_into(self, remote: RemoteObject, start: int, end: int, *_: Any) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        yield self.read(remote, start, end)

    def classify(self, error: Exception) -> Exception:
        """See ``protocols.Source``."""
        return error

    def close(self) -> None:
        """See ``protocols.Source``."""


class Opener:
    """Of that store."""

    origin = service = ambient = "store"

    def __init__(self, store: Store) -> None:
        self.store = store

    def open(self) -> Store:
        """See ``protocols.Opener``."""
        return self.store

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``."""
        return b""

    def url(self, key: str, _: str | None = None) -> str:
        """See ``protocols.Opener``."""
        return f"store://{key}"


class Cluster:
    """Nodes of this process; each is the ``Peers`` of the others."""

    def __init__(self, *names: str, targets: int = 1) -> None:
        self.store = Store()
        self.dead: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.sources: dict[str, SharedSource] = {}
        self.threads = ThreadPoolExecutor(4)
        for name in names:
            node = self.nodes[name] = Node(Members(name, names), self)
            opener = SharedOpener(Opener(self.store), node)  # type: ignore[arg-type]
            node.know([(opener, REMOTE)] * targets)
            source = opener.open()
            assert isinstance(source, SharedSource)
            self.sources[name] = source
            node.shelf.bring = self._bringing(source)

    def _bringing(self, source: SharedSource) -> Any:
        def bring(block: Block) -> Future[bytes]:
            return self.threads.submit(source.bring, block, REMOTE)

        return bring

    def ask(self, node: str, block: Block, start: int, end: int, *, waits: bool) -> Buffer:
        """See ``node.Peers``."""
        if node in self.dead:
            raise NotHereError("it is dead")
        shelf = self.nodes[node].shelf
        if waits:
            if shelf.has(block) is Has.NOT_YET:
                shelf.demand(block)
            wait_until(lambda: shelf.has(block) is not Has.COMING)
        data = shelf.read(block) if shelf.has(block) is Has.HERE else None
        if data is None:
            raise NotHereError
        return data[start:end]

    def owner(self, block: Block) -> str:
        """Of a block."""
        return ranked(block, self.nodes)[0]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster("a", "b")
    yield found
    found.threads.shutdown()


def test_only_the_blocks_of_a_node_that_is_gone_get_other_owners() -> None:
    names = ["a", "b", "c", "d"]
    blocks = [Block(number, part) for number in range(40) for part in range(5)]
    before = {block: ranked(block, names)[0] for block in blocks}
    after = {block: ranked(block, names[1:])[0] for block in blocks}
    assert {*before.values()} == {*names}
    assert all(after[block] == owner for block, owner in before.items() if owner != "a")


def test_two_nodes_that_read_in_opposite_orders_wait_for_nothing_in_vain(
    cluster: Cluster, tmp_path: Path
) -> None:
    def read_all(name: str, blocks: list[Block]) -> bytes:
        folder = tmp_path / name
        folder.mkdir()
        transfer = transfer_to(folder)
        with open(transfer.temporary, "wb") as file:
            for each in blocks:
                end = min(each.start + RANGE, len(DATA))
                data = bytes(cluster.sources[name].read(REMOTE, each.start, end))
                file.seek(each.start)
                file.write(data)
                file.flush()
                marked(cluster.nodes[name].shelf, transfer, data, each.start)
        return Path(transfer.temporary).read_bytes()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read_all, "a", BLOCKS)
        second = pool.submit(read_all, "b", BLOCKS[::-1])
        assert (first.result(60), second.result(60)) == (DATA, DATA)
    assert sorted(cluster.store.reads) == [
        (each.start, min(each.start + RANGE, len(DATA))) for each in BLOCKS
    ]


def test_what_is_read_again_because_it_was_wrong_comes_from_the_store(cluster: Cluster) -> None:
    block = BLOCKS[0]
    owner = cluster.owner(block)
    other = "a" if owner == "b" else "b"
    cluster.nodes[owner].shelf.take(block, bytes(RANGE))  # damaged
    source, node = cluster.sources[other], cluster.nodes[other]
    assert source.read(REMOTE, 0, RANGE) == bytes(RANGE)
    assert not cluster.store.reads
    sink = NodeSink(node, threading.Event())
    sink.emit(Retried("store://big", TransientError("lost"), 1, 0.0))
    assert source.read(REMOTE, 0, RANGE) == bytes(RANGE)
    sink.emit(Retried("store://big", WrongBytesError("wrong", "00"), 1, 0.0))
    assert source.read(REMOTE, 0, RANGE) == DATA[:RANGE]
    assert cluster.store.reads == [(0, RANGE)]


def test_an_object_with_several_targets_leaves_the_store_once(tmp_path: Path) -> None:
    cluster = Cluster("a", "b", targets=3)
    name = cluster.owner(BLOCKS[0])
    source, shelf = cluster.sources[name], cluster.nodes[name].shelf
    waits, when_changed = threading.Event(), shelf.when_changed

    def note_wait(block: Block, call: Callable[[], object]) -> None:
        when_changed(block, call)
        waits.set()

    shelf.when_changed = note_wait
    cluster.store.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(source.read, REMOTE, 0, RANGE)
        wait_until(lambda: len(cluster.store.reads) == 1)
        second = pool.submit(source.read, REMOTE, 0, RANGE)
        assert waits.wait(60)
        cluster.store.gate.set()
        assert (first.result(60), second.result(60)) == (DATA[:RANGE], DATA[:RANGE])
    for each in ("one", "two"):  # each target has another file
        (tmp_path / each).mkdir()
        transfer = transfer_to(tmp_path / each)
        Path(transfer.temporary).write_bytes(DATA[:RANGE])
        marked(shelf, transfer, DATA[:RANGE])
    Path(transfer.temporary).write_bytes(b"")
    shelf.take(BLOCKS[2], bytes(25 << 20))  # more than there is memory for
    assert source.read(REMOTE, 0, RANGE) == DATA[:RANGE]
    assert cluster.store.reads == [(0, RANGE)]
    cluster.nodes[name].settle(transfer, is_there=False)
    assert shelf.has(BLOCKS[1]) is Has.NOT_YET  # its other targets may get it
    cluster.threads.shutdown()


def test_blocks_of_a_node_that_dies_are_completed_from_the_store(cluster: Cluster) -> None:
    block = BLOCKS[0]
    other = "a" if cluster.owner(block) == "b" else "b"
    chunks = cluster.sources[other].stream_into(
        REMOTE, block.start, block.start + RANGE, 1 << 20, lambda _: False
    )
    found = bytes(next(iter(chunks)))
    cluster.dead.add(cluster.owner(block))
    found += b"".join(map(bytes, chunks))
    assert found == DATA[block.start : block.start + RANGE]
    assert cluster.store.reads[-1] == (block.start + (1 << 20), block.start + RANGE)


def transfer_to(folder: Path) -> Transfer:
    opener = Opener(Store())
    target = f"{folder}/big"
    return Transfer(0, "run", "task", opener, REMOTE, target, f"{folder}")  # type: ignore[arg-type]


def marked(shelf: Shelf, transfer: Transfer, data: bytes, start: int = 0) -> None:
    """Have a block noted, as it came."""
    crc = Crc("crc64nvme", checksums.crc("crc64nvme", data))
    shelf.note(0, transfer, start, Mark(start + len(data), crc))


def test_what_is_damaged_in_a_temporary_file_is_not_given(tmp_path: Path) -> None:
    shelf, transfer = Shelf(lambda _: len(DATA)), transfer_to(tmp_path)
    path, block = Path(transfer.temporary), Block(0, 0)
    path.write_bytes(DATA[:RANGE])
    marked(shelf, transfer, DATA[:RANGE])
    news = threading.Event()
    shelf.when_changed(block, news.set)
    damaged = bytearray(DATA[:RANGE])
    damaged[4096] ^= 1
    path.write_bytes(damaged)
    assert shelf.has(block) is Has.HERE
    assert shelf.read(block) is None
    assert shelf.has(block) is Has.NEVER
    marked(shelf, transfer, bytes(damaged))
    assert news.is_set()
    assert shelf.read(block) == damaged


def test_a_file_in_place_is_hashed_before_it_is_given(tmp_path: Path) -> None:
    transfer, block = transfer_to(tmp_path), Block(0, 1)
    path, stated = Path(transfer.target), checksums.of_bytes("md5", DATA)
    path.write_bytes(DATA)
    status = path.stat()
    unproven, proven, damaged = (Shelf(lambda _: len(DATA)) for _ in range(3))
    unproven.publish(0, transfer)
    assert unproven.has(block) is Has.NEVER
    proven.publish(0, transfer, verified=stated)
    assert proven.has(block) is Has.HERE
    assert proven.read(block) == DATA[RANGE : 2 * RANGE]
    bad = DATA[:10] + bytes([DATA[10] ^ 1]) + DATA[11:]
    path.write_bytes(bad)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    damaged.publish(0, transfer, verified=stated)
    assert damaged.read(block) is None
    assert damaged.has(block) is Has.NEVER
    assert proven.read(Block(0, 0)) is None  # it has another checksum than when it was hashed


def test_a_large_file_is_hashed_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "STEP_S", 0.0)
    cluster = Cluster("a")
    transfer, node = transfer_to(tmp_path), cluster.nodes["a"]
    shelf = node.shelf
    Path(transfer.target).write_bytes(DATA)
    shelf.publish(0, transfer, verified=checksums.of_bytes("md5", DATA))
    news = threading.Event()
    shelf.when_changed(Block(0, 2), news.set)
    before = node.progress
    assert shelf.read(Block(0, 1)) is None
    assert news.is_set()
    assert node.progress != before  # who waits sees that it is at work
    assert shelf.has(Block(0, 1)) is Has.HERE  # who asks again has it go on
    assert shelf.read(Block(0, 0)) is None
    assert shelf.read(Block(0, 2)) == DATA[2 * RANGE :]


def test_blocks_that_the_run_does_not_come_to_make_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster("a", "b")
    monkeypatch.setattr(demands, "DEMANDED", RANGE)
    monkeypatch.setattr(memory, "HELD", 1)
    first, second = (each for each in BLOCKS if cluster.owner(each) == cluster.owner(BLOCKS[0]))
    name = cluster.owner(first)
    shelf, transfer = cluster.nodes[name].shelf, transfer_to(tmp_path)
    Path(transfer.target).write_bytes(DATA)
    shelf.publish(0, transfer)  # nothing proves it
    assert give(cluster, first) == DATA[first.start : first.start + RANGE]
    shelf.demand(second)
    assert shelf.has(second) is Has.NOT_YET  # the first one was asked for just now
    monkeypatch.setattr(demands, "IDLE_S", 0.0)
    assert give(cluster, second) == DATA[second.start : second.start + RANGE]
    shelf.take(BLOCKS[2], DATA[2 * RANGE :])  # more than there is memory for
    assert shelf.has(first) is Has.NOT_YET
    assert len(cluster.store.reads) == 2
    # The node's own run has what it let go from those that got it, not from the store.
    monkeypatch.setattr(Cluster, "ask", lambda _, __, block, *part, **___: of_block(block, *part))
    assert cluster.sources[name].read(REMOTE, first.start, first.start + RANGE)
    assert len(cluster.store.reads) == 2
    cluster.threads.shutdown()


def of_block(block: Block, start: int, end: int) -> Buffer:
    """A range of a block."""
    return DATA[block.start + start : block.start + end]


def give(cluster: Cluster, block: Block) -> Buffer:
    """All of a block, from its owner."""
    return cluster.ask(cluster.owner(block), block, 0, RANGE, waits=True)


def test_a_small_object_is_checked_before_it_is_given() -> None:
    good, bad = DATA[:1000], bytes(1000)
    stated = replace(REMOTE, size=1000, checksum=checksums.of_bytes("md5", good))
    cluster = Cluster("a", "b")
    source, store = cluster.sources[cluster.owner(BLOCKS[0])], cluster.store
    store.answers = [bad, good]
    assert source.bring(BLOCKS[0], stated) == good
    store.answers = [bad, bad, good]
    assert source.bring(BLOCKS[0], stated) == bad  # its checksum is wrong: each node finds out
    assert source.bring(BLOCKS[0], stated) == good
    store.answers = [bad]
    assert source.bring(BLOCKS[0], stated) == bad  # those of its store are not believed any more
    assert len(store.reads) == 6
    cluster.threads.shutdown()


def test_an_object_of_one_block_is_given_when_it_is_in_place(tmp_path: Path) -> None:
    shelf, transfer, block = Shelf(lambda _: 1000), transfer_to(tmp_path), Block(0, 0)
    shelf.bring = lambda _: Future()
    Path(transfer.temporary).write_bytes(DATA[:1000])
    marked(shelf, transfer, DATA[:1000])
    assert shelf.has(block) is Has.COMING  # it is not checked yet
    Path(transfer.temporary).rename(transfer.target)
    shelf.publish(0, transfer)
    assert shelf.read(block) == DATA[:1000]
    marked(failed := Shelf(lambda _: 1000), transfer, DATA[:1000])
    assert failed.has(block) is Has.NEVER  # the run is over, and it is not in place


def test_versions_of_one_key_are_never_taken_for_each_other() -> None:
    node = Node(Members("a", ["a", "b"]), Cluster())
    opener: Any = Opener(Store())
    listed = replace(REMOTE, modified_ns=1_500_000_000)
    newer, pinned = replace(listed, etag="two"), replace(listed, version="7")
    read = replace(listed, read_as=ReadAs("other", None))
    node.know((opener, each) for each in (listed, newer, listed, pinned, read))
    assert node.number_of(opener, listed) == 0
    assert node.number_of(opener, replace(listed, modified_ns=1_000_000_000)) == 0
    assert node.number_of(opener, replace(listed, checksum=Checksum("md5", "00"))) == 0
    assert node.number_of(opener, newer) == 1
    assert node.number_of(opener, pinned) == 3
    assert node.number_of(opener, as_read(read)) == 0
    assert node.number_of(opener, replace(listed, etag="three")) is None
    ones = [replace(listed, checksum=Checksum("md5", each)) for each in ("00", "11")]
    node = Node(Members("a", ["a", "b"]), Cluster())
    node.know((opener, each) for each in ones)
    assert [node.number_of(opener, each) for each in ones] == [None, None]


def test_objects_that_nothing_identifies_are_not_divided(cluster: Cluster) -> None:
    unknown = replace(REMOTE, etag=None)
    for each in cluster.sources.values():
        assert each.read(unknown, 0, 10) == DATA[:10]
    assert cluster.store.reads == [(0, 10)] * 2
