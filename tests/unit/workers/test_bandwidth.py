"""One clock paces all threads: it keeps the rate, and no burst follows a pause."""

from __future__ import annotations

import os
import pickle
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from kaiwo.errors import UnfinishedError
from kaiwo.files import temporary_files
from kaiwo.jobs import Range
from kaiwo.workers import reading
from kaiwo.workers.bandwidth import SAVED_S, Bandwidth, Pacer, new_bandwidth
from kaiwo.workers.jobs import run
from kaiwo.workers.reading import Reading
from kaiwo.workers.threads import WorkerThreads
from tests.support.faulty import FaultyOpener, FaultyStore, content, transfer_of

RATE = 20_000_000


def carried(
    pacer: Pacer, threads: int, sizes: list[int], until_s: float, pauses: bool = False
) -> list[tuple[float, int]]:
    """When each thread read how much: simulated, nothing waits."""
    chance = random.Random(19)
    free_s = [0.0] * threads
    read: list[tuple[float, int]] = []
    while (now_s := min(free_s)) < until_s:
        thread = free_s.index(now_s)
        size = chance.choice(sizes)
        read.append((now_s, size))
        free_s[thread] = now_s + pacer.take(size, now_s)
        if pauses and chance.random() < 0.01:
            free_s[thread] += chance.uniform(0.5, 3.0)
    return read


@pytest.mark.parametrize("threads", [1, 8, 64])
@pytest.mark.parametrize("sizes", [[16_384], [1 << 20], [10, 5_000, 300_000]])
def test_threads_together_keep_to_the_rate(threads: int, sizes: list[int]) -> None:
    read = carried(Pacer(RATE, 0.0), threads, sizes, 10.0)
    ahead = threads * max(sizes)  # what each has read before it waits for the first time
    assert 10.0 * RATE <= sum(size for _, size in read) <= 10.0 * RATE + ahead


def test_no_burst_follows_a_pause() -> None:
    read = carried(Pacer(RATE, 0.0), 4, [200_000], 60.0, pauses=True)
    for start, _ in read:
        second = sum(size for at, size in read if start <= at < start + 1.0)
        assert second <= RATE * (1.0 + SAVED_S) + 4 * 200_000


def test_what_is_not_used_is_known() -> None:
    pacer = Pacer(1_000, 0.0)
    assert pacer.take(1_000, 0.0) == 1.0
    assert pacer.unused_s(1.0 + SAVED_S) == 0.0
    assert pacer.unused_s(3.0 + SAVED_S) == pytest.approx(2.0)
    assert pacer.unused_s(3.0 + SAVED_S) == pytest.approx(2.0)
    assert pacer.take(1_000, 3.0 + SAVED_S) == pytest.approx(1.0 - SAVED_S)


def test_workers_that_know_the_name_share_the_rate() -> None:
    one = new_bandwidth(1_000_000)
    other: Bandwidth = pickle.loads(pickle.dumps(one))
    with ThreadPoolExecutor(2) as pool:
        begun_s = time.monotonic()
        list(pool.map(lambda each: each.wait(100_000), (one, other, new_bandwidth(1_000_000))))
        passed_s = time.monotonic() - begun_s
    one.end()
    assert passed_s >= 0.2 - 0.01


def test_a_thread_that_waits_ends_with_its_run() -> None:
    threads, waits = WorkerThreads(1, "test"), threading.Event()

    def wait() -> None:
        waits.set()
        new_bandwidth(1_000).wait(1_000_000)

    waiting: Future[None] = threads.submit(wait)
    assert waits.wait(10.0)
    begun_s = time.monotonic()
    threads.shutdown(cancel_futures=True)
    assert isinstance(waiting.exception(10.0), UnfinishedError)
    assert time.monotonic() - begun_s < 5.0


@pytest.fixture
def indebted() -> Iterator[Bandwidth]:
    """A limit whose clock is a minute ahead."""
    limit, threads = new_bandwidth(1_000_000), WorkerThreads(1, "test")
    threads.submit(limit.wait, 60_000_000)
    time.sleep(4 * SAVED_S)  # until its thread has begun
    yield limit
    threads.shutdown(cancel_futures=True)
    limit.end()


def test_a_forked_child_has_another_clock(indebted: Bandwidth) -> None:
    child = os.fork()
    if not child:
        os._exit(0 if indebted.wait(1) < 1.0 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_clock_of_a_run_that_is_over_is_forgotten(indebted: Bandwidth) -> None:
    indebted.end()
    assert indebted.wait(1) == 0.0
    indebted.end()
    indebted.end()


def test_a_range_is_asked_for_part_by_part_while_it_is_held_back(tmp_path: Path) -> None:
    data = content(100_000)
    store = FaultyStore({"big": data})
    transfer = transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)
    limit = new_bandwidth(400_000)
    how = Reading(piece=10_000, bandwidth=limit, request=20_000)
    begun_s = time.monotonic()
    temporary_files.create(transfer.temporary)
    (outcome,) = run(Range(transfer, 0, len(data), ("crc32c",)), how)
    passed_s = time.monotonic() - begun_s
    limit.end()
    assert (outcome.error, outcome.bytes) == (None, len(data))
    assert Path(transfer.temporary).read_bytes() == data
    assert passed_s >= len(data) / limit.rate - SAVED_S


def test_a_connection_that_is_held_back_does_not_creep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CREEPS_S", 0.05)
    data = content(30_000)
    store = FaultyStore({"big": data})
    transfer = transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)
    limit = new_bandwidth(100_000)
    how = Reading(piece=1_000, least_rate=200_000, bandwidth=limit)
    temporary_files.create(transfer.temporary)
    (outcome,) = run(Range(transfer, 0, len(data), ("crc32c",)), how)
    limit.end()
    assert (outcome.error, outcome.bytes) == (None, len(data))
