"""One executor for all tasks: as many requests for bytes as workers, and never more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.command import Kaiwo
from tests.support.proxies import Counting, counting
from tests.support.stores import Store

MIB = 1 << 20
LARGE = random.Random(24).randbytes(24 * MIB)


@pytest.fixture(scope="module")
def slow(s3: Store, gcs: Store, azure: Store, hub: Store) -> Iterator[Counting]:
    """All four by way of a proxy that holds every answer with object bytes back."""
    with counting(s3, gcs, azure, hub, delay_s=0.1) as way:
        yield way


@pytest.fixture(scope="module")
def counted(s3: Store, gcs: Store, azure: Store, hub: Store) -> Iterator[Counting]:
    """All four by way of a counting proxy."""
    with counting(s3, gcs, azure, hub) as way:
        yield way


def folder(store: Store, bucket: str, target: str, prefix: str = "") -> dict[str, Any]:
    if store.type == "hf":
        return store.task(bucket, [], target_path=target)
    return store.task(bucket, [{"folder": prefix, "target_path": target}])


def five_tasks(one: Store, two: Store, objects: dict[str, bytes]) -> dict[str, Any]:
    """Tasks on two providers, each with other objects."""
    stores = (one, two, one, two, one)
    tasks = [folder(store, store.new_bucket(objects), f"{n}") for n, store in enumerate(stores)]
    return {"download_items": tasks}


def with_three(kaiwo: Kaiwo, slow: Counting, config: dict[str, Any]) -> int:
    """Run with three workers; returns how many requests for bytes there were."""
    slow.reset(wanted=3)
    done = kaiwo(config, "--max-workers", "3")
    assert done.code == 0, done.stderr
    counts = slow.counts()
    assert counts.most == 3
    return counts.gets


@pytest.mark.parametrize("providers", [(0, 1), (0, 2)], ids=["s3-gcs", "s3-azure"])
def test_five_tasks_of_two_providers_share_three_workers(
    kaiwo: Kaiwo, slow: Counting, providers: tuple[int, int]
) -> None:
    one, two = (slow.stores[number] for number in providers)
    objects = {f"{number}": bytes(700_000) for number in range(5)}
    assert with_three(kaiwo, slow, five_tasks(one, two, objects)) == 25


def test_many_small_objects_of_five_tasks_share_three_workers(kaiwo: Kaiwo, slow: Counting) -> None:
    s3, _, azure, _ = slow.stores
    objects = {f"{number:03}": b"small" for number in range(27)}
    assert with_three(kaiwo, slow, five_tasks(s3, azure, objects)) == 135


def test_a_few_small_objects_do_not_wait_for_one_worker(kaiwo: Kaiwo, slow: Counting) -> None:
    s3, gcs, _, _ = slow.stores
    objects = {f"{number:03}": b"small" for number in range(6)}
    assert with_three(kaiwo, slow, five_tasks(s3, gcs, objects)) == 30


@pytest.mark.parametrize("number", range(4), ids=["s3", "gcs", "azure", "hub"])
def test_the_ranges_of_a_large_object_share_three_workers(
    kaiwo: Kaiwo, slow: Counting, number: int
) -> None:
    store = slow.stores[number]
    bucket = "large/one" if store.type == "hf" else store.new_bucket()
    store.fill(bucket, {"large.bin": LARGE})
    config = {"download_items": [folder(store, bucket, "x")]}
    assert with_three(kaiwo, slow, config) == 3, "ranges of 8 MiB"


def test_a_large_object_among_small_ones_shares_three_workers(kaiwo: Kaiwo, slow: Counting) -> None:
    s3 = slow.stores[0]
    objects = {f"{number:03}": b"small" for number in range(12)} | {"large": LARGE + b"+"}
    config = {"download_items": [folder(s3, s3.new_bucket(objects), "x")]}
    assert with_three(kaiwo, slow, config) == 12 + 4


def test_a_hub_task_keeps_to_three_workers(kaiwo: Kaiwo, slow: Counting) -> None:
    hub = slow.stores[3]
    files = {f"{number}.txt": bytes(700_000) for number in range(6)}
    files |= {f"{number}.bin": bytes([number]) * 700_000 for number in range(6)}
    hub.fill("some/files", files)
    assert with_three(kaiwo, slow, {"download_items": [folder(hub, "some/files", "x")]}) == 12


def test_by_default_eight_requests_for_larger_objects_are_in_flight(
    kaiwo: Kaiwo, slow: Counting
) -> None:
    s3 = slow.stores[0]
    bucket = s3.new_bucket({f"{number}": bytes(MIB + 1) for number in range(20)})
    slow.reset(wanted=8)
    assert kaiwo({"download_items": [folder(s3, bucket, "x")]}).code == 0
    assert slow.counts().most == 8


def test_by_default_more_requests_for_small_objects_are_in_flight_but_at_most_64(
    kaiwo: Kaiwo, slow: Counting
) -> None:
    s3 = slow.stores[0]
    bucket = s3.new_bucket({f"{number:03}": b"small" for number in range(300)})
    slow.reset()
    assert kaiwo({"download_items": [folder(s3, bucket, "x")]}).code == 0
    assert 8 < slow.counts().most <= 64


def test_by_default_large_objects_have_8_requests_beside_64_for_small_ones(
    kaiwo: Kaiwo, slow: Counting
) -> None:
    s3 = slow.stores[0]
    objects = {f"{number:03}": b"small" for number in range(200)}
    objects |= {f"medium{number}": bytes(MIB + 1) for number in range(10)}
    bucket = s3.new_bucket(objects | {"large": LARGE + b"+"})
    slow.reset()
    assert kaiwo({"download_items": [folder(s3, bucket, "x")]}).code == 0
    counts = slow.counts()
    assert (counts.gets, counts.most <= 8 + 64) == (214, True)


# --- no request to spare ----------------------------------------------------------------------


def requests_of_listing(store: Store, entries: int) -> int:
    """One page, and one question whether it is the last. Azure answers that for a single entry."""
    return 1 if store.type == "azure-blob" and entries == 1 else 2


@pytest.mark.parametrize("number", range(3), ids=["s3", "gcs", "azure"])
def test_small_objects_cost_one_request_each_and_two_for_the_listing(
    kaiwo: Kaiwo, counted: Counting, number: int
) -> None:
    store = counted.stores[number]
    bucket = store.new_bucket({f"p/{number:03}": b"small" for number in range(100)})
    counted.reset()
    assert kaiwo({"download_items": [folder(store, bucket, "x", "p")]}).code == 0
    counts = counted.counts()
    assert counts.gets == 100
    assert counts.methods == {"GET": 100 + requests_of_listing(store, 100)}, counts.lines[:5]


def test_a_whole_bucket_of_s3_costs_one_listing_more(kaiwo: Kaiwo, counted: Counting) -> None:
    # Keys that begin with a slash show in no other way.
    store = counted.stores[0]
    bucket = store.new_bucket({f"{number:03}": b"small" for number in range(10)})
    counted.reset()
    assert kaiwo({"download_items": [folder(store, bucket, "x")]}).code == 0
    counts = counted.counts()
    assert (counts.gets, counts.methods) == (10, {"GET": 13}), counts.lines[:5]


@pytest.mark.parametrize("number", range(3), ids=["s3", "gcs", "azure"])
@pytest.mark.parametrize(("size", "gets"), [(8 * MIB, 1), (16 * MIB + 1, 3)])
def test_large_objects_cost_one_request_for_each_8_mib(
    kaiwo: Kaiwo, counted: Counting, number: int, size: int, gets: int
) -> None:
    store = counted.stores[number]
    bucket = store.new_bucket({"p/large": LARGE[:size]})
    counted.reset()
    assert kaiwo({"download_items": [folder(store, bucket, "x", "p")]}).code == 0
    counts = counted.counts()
    # S3 lists no checksum; one that combines is worth a question.
    asked = {"HEAD": 1} if store.type == "s3" else {}
    assert counts.gets == gets
    assert counts.methods == {"GET": gets + requests_of_listing(store, 1)} | asked, counts.lines[:5]


@pytest.mark.parametrize("number", range(3), ids=["s3", "gcs", "azure"])
def test_a_named_file_is_looked_up_and_read_and_its_bucket_is_not_listed(
    kaiwo: Kaiwo, counted: Counting, number: int
) -> None:
    store = counted.stores[number]
    bucket = store.new_bucket({"a": b"1", "b": b"2"})
    counted.reset()
    task = store.task(bucket, [{"file": "a", "target_path": "a"}])
    assert kaiwo({"download_items": [task]}).code == 0
    counts = counted.counts()
    assert (counts.gets, len(counts.lines)) == (1, 2), counts.lines
    assert not any("list" in line or "prefix" in line for line in counts.lines)


def test_a_repository_costs_a_commit_a_tree_and_a_request_for_each_file(
    kaiwo: Kaiwo, counted: Counting
) -> None:
    hub = counted.stores[3]
    hub.fill("some/more", {f"{number}.txt": b"small" for number in range(30)})
    counted.reset()
    assert kaiwo({"download_items": [folder(hub, "some/more", "x")]}).code == 0
    counts = counted.counts()
    assert (counts.gets, counts.methods) == (30, {"GET": 32}), counts.lines[:5]
