"""Planning: listing, order, decisions; all of it before the first byte."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import (
    BugError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    NotFoundError,
    TransientError,
)
from kaiwo.events import Retried
from kaiwo.files.placement import At, Under
from kaiwo.jobs import Plan, Want
from kaiwo.objects import Checksum, Folder, Named, RemoteObject
from kaiwo.planning.gather import Listing
from kaiwo.state.state import State
from tests.support.faulty import (
    MIB,
    FaultyOpener,
    FaultyStore,
    PatternOpener,
    PromptPolicy,
    closed_plan,
    files,
    put,
)
from tests.support.planning import listed, planned, want


def keys_of(listing: Listing) -> list[list[str]]:
    return [[remote.key for remote in objects] for _, objects in listing.found]


# --- listing ----------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_wants(tmp_path: Path) -> None:
    wants = [want(FaultyStore({f"{n}": b"x", f"{n}+": b"y"}), tmp_path) for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        listing, _ = listed(wants, pool)
    assert [each for each, _ in listing.found] == wants
    assert keys_of(listing) == [[f"{n}", f"{n}+"] for n in range(20)]


def test_a_folder_is_listed_below_its_prefix_and_matched_relative_to_it(tmp_path: Path) -> None:
    store = FaultyStore(dict.fromkeys(("a/x.txt", "a/b/y.txt", "a/z.bin", "ab/x.txt"), b""))
    listing, _ = listed([want(store, tmp_path, Folder("a/", ("*.txt",)))])
    assert store.listings == ["a/"]
    assert keys_of(listing) == [["a/x.txt"]]


def test_named_objects_are_looked_up_and_nothing_is_listed(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1", "b": b"2", "c": b"3"})
    listing, _ = listed([want(store, tmp_path, Named(("c", "a")))])
    assert keys_of(listing) == [["c", "a"]]
    assert (store.listings, store.stats) == ([], ["c", "a"])


def test_a_service_is_waited_for_until_it_has_answered_any_listing(tmp_path: Path) -> None:
    policy = PromptPolicy(0, startup_wait_s=60)
    late, up = FaultyStore({"a": b"1"}), FaultyStore({"b": b"2"})
    late.list_faults = [NoAnswerError("reset")] * 5
    listing, _ = listed([want(late, tmp_path)], policy=policy)
    assert keys_of(listing) == [["a"]]
    up.list_faults = [NoAnswerError("reset")]
    answered = want(FaultyOpener(FaultyStore({"c": b"3"})), tmp_path)
    listing, _ = listed([answered, want(up, tmp_path)], policy=policy)
    assert [error.message for _, error in listing.failed] == ["config.yaml:3: reset"]


def test_no_byte_of_any_object_is_read(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1", "b": b"2"})
    planned([want(store, tmp_path)])
    assert (store.reads, store.streams, files(tmp_path)) == ([], [], {})


def test_one_source_is_opened_once_for_all_wants_of_it(tmp_path: Path) -> None:
    opener = FaultyOpener(FaultyStore({"a": b"1"}))
    wants = [want(opener, tmp_path, where=str(number)) for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        listed(wants, pool)
    assert (opener.store.opened, opener.store.closed) == (1, 1)


@pytest.mark.parametrize("selection", [Folder("", ("*.no",)), Folder("none/", ()), Named(("no",))])
def test_nothing_matched_is_not_found(tmp_path: Path, selection: Folder | Named) -> None:
    plan = planned([want(FaultyStore({"a": b"1"}), tmp_path, selection)])
    (item,) = plan.missed
    assert isinstance(item.error, NotFoundError)
    assert "config.yaml:3" in item.error.message
    assert "faulty://" in item.error.message
    assert (item.status, item.task, plan.transfers) == ("failed", "task", ())


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        (
            Named(("data/0*.csv",)),
            "'*' is a part of the name here, and no glob: write it in 'glob'",
        ),
        (Folder("data*/", ("**/*",)), "'*' is a part of the name here, and no glob"),
        (Folder("", ("{01,02}.csv",)), "globs have no braces"),
    ],
)
def test_a_glob_that_selects_nothing_is_explained(
    tmp_path: Path, selection: Folder | Named, says: str
) -> None:
    (item,) = planned([want(FaultyStore({"a": b"1"}), tmp_path, selection)]).missed
    assert item.error is not None
    assert says in item.error.message


@pytest.mark.parametrize("key", ["data/0*.csv", "a?b", "data[1]", "{a,b}"])
def test_a_key_with_the_sign_of_a_glob_is_found_by_its_name(tmp_path: Path, key: str) -> None:
    placement = At(str(tmp_path / "t"), str(tmp_path))
    store = FaultyStore({key: b"1", "data/01.csv": b"2"})
    plan = planned([want(store, tmp_path, Named((key,)), placement=placement)])
    assert [each.object.key for each in plan.transfers] == [key]


@pytest.mark.parametrize("selection", [Folder("", ("*.no",)), Named(("no",))])
def test_nothing_matched_is_fine_where_it_is_allowed(
    tmp_path: Path, selection: Folder | Named
) -> None:
    store = FaultyStore({"a": b"1"})
    assert planned([want(store, tmp_path, selection, allow_empty=True)]) == Plan()


def test_allow_empty_allows_nothing_else(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1"})
    store.list_faults = [CredentialsError("expired")]
    (item,) = planned([want(store, tmp_path, allow_empty=True)]).missed
    assert isinstance(item.error, CredentialsError)


@pytest.mark.parametrize("error", [CredentialsError("expired"), NotFoundError("no such bucket")])
def test_a_want_that_fails_does_not_stop_the_others(tmp_path: Path, error: KaiwoError) -> None:
    broken = FaultyStore({"a": b"1"})
    broken.list_faults = [error]
    plan = planned(
        [want(broken, tmp_path, where="line 1"), want(FaultyStore({"b": b"2"}), tmp_path)]
    )
    assert [each.object.key for each in plan.transfers] == ["b"]
    (item,) = plan.missed
    assert type(item.error) is type(error)
    assert item.error.message == f"line 1: {error.message}"
    assert len(broken.listings) == 1


def test_a_listing_that_fails_in_passing_is_repeated(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1"})
    store.list_faults = [TransientError("503", 0.0), ConnectionResetError("by peer")]
    listing, sink = listed([want(store, tmp_path)])
    assert keys_of(listing) == [["a"]]
    assert [(each.what, each.attempt) for each in sink.of(Retried)] == [
        ("config.yaml:3", 1),
        ("config.yaml:3", 2),
    ]


def test_a_listing_that_goes_on_failing_ends_with_the_last_cause(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1"})
    store.list_faults = [TransientError(f"cause {number}", 0.0) for number in range(9)]
    listing, _ = listed([want(store, tmp_path)], retries=2)
    ((_, error),) = listing.failed
    assert error.message.startswith("config.yaml:3: cause 2; attempt 3 after ")
    assert error.message.endswith("the first failed with: cause 0")
    assert error.exit_code == 5
    assert len(store.listings) == 3


def test_a_source_that_cannot_be_opened_is_the_failure_of_its_wants(tmp_path: Path) -> None:
    refused_, broken = FaultyStore(), FaultyStore()
    refused_.open_faults = [CredentialsError("no key")]
    broken.open_faults = [ZeroDivisionError("secret text")]
    listing, _ = listed([want(refused_, tmp_path), want(broken, tmp_path)])
    (_, first), (_, second) = listing.failed
    assert (type(first), type(second)) == (CredentialsError, BugError)
    assert "secret" not in second.message


def test_an_unforeseen_exception_while_listing_is_classified(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1"})
    store.list_faults = [ZeroDivisionError("secret text")]
    ((_, error),) = listed([want(store, tmp_path)])[0].failed
    assert isinstance(error, BugError)
    assert "secret" not in error.message


def test_two_wants_that_are_equal_are_both_listed(tmp_path: Path) -> None:
    opener = FaultyOpener(FaultyStore({"a": b"1"}))
    first = want(opener, tmp_path)
    listing, _ = listed([first, replace(first)])
    assert keys_of(listing) == [["a"], ["a"]]


def test_one_want_twice_is_listed_twice(tmp_path: Path) -> None:
    twice = want(FaultyStore({"a": b"1"}), tmp_path)
    assert keys_of(listed([twice, twice])[0]) == [["a"], ["a"]]


# --- order and places -------------------------------------------------------------------------


def test_the_largest_come_first_over_all_wants_and_equals_in_their_order(tmp_path: Path) -> None:
    first = FaultyStore({"a": b"1", "b": b"333", "c": b"1"})
    second = FaultyStore({"d": b"22", "e": b"4444", "f": b"1"})
    plan = planned([want(first, tmp_path), want(second, tmp_path)])
    assert [each.object.key for each in plan.transfers] == ["e", "b", "d", "a", "c", "f"]


def test_every_transfer_has_a_temporary_name_of_its_own(tmp_path: Path) -> None:
    store = FaultyStore({f"f{number}": b"x" for number in range(100)})
    plan = planned([want(store, tmp_path), want(store, tmp_path / "other")])
    assert len({transfer.temporary for transfer in plan.transfers}) == 200
    for transfer in plan.transfers:
        assert os.path.dirname(transfer.temporary) == os.path.dirname(transfer.target)


def test_a_folder_loses_its_prefix_and_a_file_goes_where_it_was_sent(tmp_path: Path) -> None:
    store = FaultyStore({"models/x/a.bin": b"1", "b.bin": b"2"})
    root = str(tmp_path)
    plan = planned(
        [
            want(store, tmp_path, Folder("models/", ())),
            want(store, tmp_path, Named(("b.bin",)), placement=At(f"{root}/c/d.bin", root)),
        ]
    )
    assert {each.object.key: each.target for each in plan.transfers} == {
        "models/x/a.bin": f"{root}/x/a.bin",
        "b.bin": f"{root}/c/d.bin",
    }


# --- what is there already --------------------------------------------------------------------


@pytest.fixture
def remembered(tmp_path: Path) -> FaultyStore:
    """A store; all its objects are in place and in the manifest."""
    store = FaultyStore({"a": b"1", "deep/b": b"22"})
    opener = FaultyOpener(store)
    memory = State()
    for transfer in planned([want(opener, tmp_path)]).transfers:
        memory.manifest(transfer.root).remember([put(transfer, store.objects[transfer.object.key])])
    memory.close()
    return store


def decided(plan: Plan) -> dict[str, str]:
    """What is to become of each object."""
    found = {each.object.key: "unchanged" for each in plan.unchanged}
    for each in plan.transfers:
        found[each.object.key] = "compare" if each.present else "fetch"
    return found


def test_what_memory_holds_is_unchanged_without_a_request(
    tmp_path: Path, remembered: FaultyStore
) -> None:
    remembered.stats.clear()
    plan = planned([want(remembered, tmp_path)])
    assert decided(plan) == {"a": "unchanged", "deep/b": "unchanged"}
    assert (remembered.stats, remembered.reads) == ([], [])
    assert plan.unchanged[0].object.checksum == remembered.remote("a").checksum


def test_force_fetches_what_is_there(tmp_path: Path, remembered: FaultyStore) -> None:
    plan = planned([want(remembered, tmp_path)], force=True)
    assert decided(plan) == {"a": "fetch", "deep/b": "fetch"}


def test_what_another_tool_put_there_is_to_be_compared(tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"1")
    (tmp_path / "longer").write_bytes(b"1 and more")
    store = FaultyStore(dict.fromkeys(("same", "longer", "absent"), b"1"))
    assert decided(planned([want(store, tmp_path)])) == {
        "same": "compare",
        "longer": "fetch",
        "absent": "fetch",
    }


@pytest.mark.parametrize("change", ["store", "disk", "touched", "removed"])
def test_what_is_no_longer_as_remembered_is_looked_at(
    tmp_path: Path, remembered: FaultyStore, change: str
) -> None:
    path = tmp_path / "a"
    if change == "store":
        remembered.objects["a"] = b"9"
    elif change == "disk":
        path.write_bytes(b"longer")
    elif change == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    expected = "compare" if change in ("store", "touched") else "fetch"
    assert decided(planned([want(remembered, tmp_path)])) == {"a": expected, "deep/b": "unchanged"}


@pytest.mark.parametrize(("verify", "expected"), [(True, "compare"), (False, "unchanged")])
def test_what_was_only_counted_is_compared_when_checksums_are_wanted(
    tmp_path: Path, verify: bool, expected: str
) -> None:
    store = FaultyStore({"a": b"1"})
    opener = FaultyOpener(store)
    memory = State()
    (transfer,) = planned([want(opener, tmp_path)]).transfers
    memory.manifest(str(tmp_path)).remember([replace(put(transfer, b"1"), verified=False)])
    memory.close()
    assert decided(planned([want(opener, tmp_path)], verify=verify)) == {"a": expected}


def test_a_link_at_the_target_that_leads_nowhere_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("nowhere")
    assert decided(planned([want(FaultyStore({"a": b"1"}), tmp_path)])) == {"a": "fetch"}


# --- many -------------------------------------------------------------------------------------


MANY = 100_000


def _many(root: Path) -> Listing:
    opener = PatternOpener(())
    place = Under(str(root), str(root), "data/")
    objects = tuple(
        RemoteObject(
            f"data/part{number % 100:03}/file-{number:06}.bin",
            number,
            f"{number:032x}",
            None,
            Checksum("md5", f"{number:032x}"),
        )
        for number in range(MANY)
    )
    return Listing(((Want("task", "c:3", opener, Folder("data/"), place), objects),), ())


def _plan_many(root: str) -> tuple[int, int, float, int]:
    """In a separate process: number, largest size, seconds, and how much the process grew."""
    before, start = _resident(), time.monotonic()
    plan = closed_plan(_many(Path(root)))
    seconds, growth = time.monotonic() - start, _resident() - before
    return len(plan.transfers), plan.transfers[0].object.size, seconds, growth


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_hundred_thousand_objects_are_planned_in_seconds_and_little_memory(
    tmp_path: Path,
) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        count, largest, seconds, growth = pool.submit(_plan_many, str(tmp_path)).result(60)
    assert (count, largest) == (MANY, MANY - 1)
    assert seconds < 20
    # With the listing that it is made of.
    assert growth < 150 * MIB
