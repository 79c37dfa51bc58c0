"""The checksum of an item: read again only where that may help, and never believed unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import WrongBytesError
from kaiwo.jobs import Plan
from kaiwo.objects import Checksum, RemoteObject
from tests.support.faulty import (
    FaultyOpener,
    FaultyStore,
    Ran,
    carry_out,
    content,
    files,
    large,
    plan_of,
    run_store,
    wrong,
)

ALGORITHMS = ["sha256", "md5", "crc32c", "crc64nvme"]
KEYS = ["small", "medium", "big"]


def filled() -> FaultyStore:
    return large(small=b"some", medium=content(200_000))


def of(algorithm: str, data: bytes) -> Checksum:
    found = checksums.of_bytes(algorithm, data)
    assert found is not None
    return found


def required(store: FaultyStore, root: Path, *, by: str, other: str = "", **rules: bool) -> Ran:
    """Download everything; items ask for the checksums, and for another one of one key."""
    plan = plan_of(FaultyOpener(store), root)
    transfers = tuple(
        replace(
            each,
            required=of(
                by, b"other" if each.object.key == other else store.objects[each.object.key]
            ),
            present=rules.get("present", False),
        )
        for each in plan.transfers
    )
    return carry_out(Plan(transfers), root, verify=rules.get("verify", True))


@pytest.mark.parametrize("by", ALGORITHMS)
@pytest.mark.parametrize("verify", [True, False])
def test_bytes_are_proven_by_the_checksum_of_the_item(
    tmp_path: Path, by: str, verify: bool
) -> None:
    store = filled()
    run = required(store, tmp_path, by=by, verify=verify)
    assert run.report.ok
    assert files(tmp_path) == store.objects
    for key in KEYS:
        assert run.item(key).checksum == of(by, store.objects[key])
        assert run.item(key).verified
        assert store.reads_of(key)[0] == 1


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("by", ALGORITHMS)
def test_what_the_store_states_differs_in_vain(tmp_path: Path, key: str, by: str) -> None:
    store = filled()
    stated = replace(store.remote(key), checksum=of("md5", b"something else"))
    store.stated[key] = stated
    run = required(store, tmp_path, by=by)
    assert run.report.ok
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("by", ALGORITHMS)
def test_bytes_that_the_store_states_are_not_read_again(tmp_path: Path, key: str, by: str) -> None:
    store = filled()
    (tmp_path / key).write_bytes(b"what was there before")
    run = required(store, tmp_path, by=by, other=key)
    error = run.error(key)
    assert (run.report.exit_code, type(error)) == (7, WrongBytesError)
    assert "but the item asks for" in error.message
    assert "correct the item's checksum" in error.message
    assert store.reads_of(key)[0] == 1
    assert run.item(key).checksum == of(by, b"other")
    # Nothing was published, and nothing was taken away.
    assert (tmp_path / key).read_bytes() == b"what was there before"
    assert set(files(tmp_path)) == set(store.objects)


@pytest.mark.parametrize("key", KEYS)
def test_where_the_store_states_nothing_two_reads_decide(tmp_path: Path, key: str) -> None:
    store = filled()
    store.stated[key] = RemoteObject(key, len(store.objects[key]), '"1"')
    run = required(store, tmp_path, by="sha256", other=key)
    assert (run.report.exit_code, type(run.error(key))) == (7, WrongBytesError)
    assert set(store.reads_of(key).values()) == {2}
    assert set(files(tmp_path)) == set(store.objects) - {key}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("by", ALGORITHMS)
def test_bytes_that_came_wrong_once_are_read_again(tmp_path: Path, key: str, by: str) -> None:
    store = filled()
    store.script((key, 0), wrong)
    run = required(store, tmp_path, by=by)
    assert run.report.ok
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("by", ALGORITHMS)
def test_what_is_there_counts_when_it_is_hashed_whatever_the_store_has(
    tmp_path: Path, by: str
) -> None:
    store = filled()
    for key, data in store.objects.items():
        (tmp_path / key).write_bytes(data)
    # The same objects, but for one that is replaced by a shorter one.
    later = filled()
    later.objects["medium"] = b"another object now"
    plan = plan_of(FaultyOpener(later), tmp_path)
    transfers = tuple(
        replace(each, present=True, required=of(by, store.objects[each.object.key]))
        for each in plan.transfers
    )
    run = carry_out(Plan(transfers), tmp_path)
    assert run.report.ok
    assert {each.status for each in run.report.items} == {"unchanged"}
    assert all(each.verified for each in run.report.items)
    assert later.reads == []
    assert files(tmp_path) == store.objects
    # Of the store's object, nothing is in place.
    done = run_store(later, tmp_path)
    assert done.report.ok
    assert files(tmp_path) == later.objects
