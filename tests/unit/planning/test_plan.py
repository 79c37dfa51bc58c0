"""From wants to a closed plan."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import (
    BugError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    TransientError,
    UnsafeNameError,
)
from kaiwo.events import Retried
from kaiwo.files.placement import At, Under
from kaiwo.jobs import Plan, Want
from kaiwo.objects import Checksum, Folder, Named, Place, RemoteObject
from kaiwo.planning.case_folding import Folding, FoldingProbe
from kaiwo.planning.conflicts import TargetCheck
from kaiwo.planning.gather import Listing, gather
from kaiwo.protocols import Placement
from kaiwo.state.state import State
from kaiwo.workers.source_cache import close_source
from tests.support.faulty import (
    MIB,
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PatternOpener,
    PromptPolicy,
    RecordingSink,
    closed_plan,
    files,
    put,
)


def want(
    store: FaultyStore | FaultyOpener,
    root: Path,
    selection: Folder | Named | None = None,
    *,
    placement: Placement | None = None,
    where: str = "config.yaml:3",
    allow_empty: bool = False,
) -> Want:
    """What an item asks for: by default, everything, below the root."""
    opener = store if isinstance(store, FaultyOpener) else FaultyOpener(store)
    selection = selection or Folder("", ("**/*",))
    prefix = selection.prefix if isinstance(selection, Folder) else ""
    placement = placement or Under(str(root), str(root), prefix)
    return Want("task", where, opener, selection, placement, allow_empty)


def listed(
    wants: Sequence[Want], executor: Executor | None = None, *, retries: int = 3
) -> tuple[Listing, RecordingSink]:
    sink = RecordingSink()
    try:
        listing = gather(wants, executor or InlineExecutor(), 4, PromptPolicy(retries), sink)
    finally:
        for each in wants:
            close_source(each.opener)
    return listing, sink


def planned(
    wants: Sequence[Want], memory: State | None = None, *, force: bool = False, verify: bool = True
) -> Plan:
    listing, _ = listed(wants)
    return closed_plan(listing, memory, force=force, verify=verify)


def refused(wants: Sequence[Want]) -> str:
    with pytest.raises(UnsafeNameError) as caught:
        planned(wants)
    return caught.value.message


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


# --- what is refused --------------------------------------------------------------------------


def test_all_hostile_names_are_named_and_nothing_is_planned(tmp_path: Path) -> None:
    hostile = ("../up", "a/../../up", "/etc/passwd", "a/./b", "new\nline", ".kaiwo/manifest.jsonl")
    store = FaultyStore(dict.fromkeys((*hostile, "good"), b""))
    message = refused([want(store, tmp_path, where="config.yaml:7")])
    assert all(repr(key) in message for key in hostile)
    assert message.count("config.yaml:7") == len(hostile)
    assert "good" not in message


def test_all_conflicting_targets_are_named_with_both_owners(tmp_path: Path) -> None:
    first, second = FaultyStore({"a": b"1", "b": b"2"}), FaultyStore({"a": b"3", "b": b"4"})
    message = refused(
        [want(first, tmp_path, where="line 3"), want(second, tmp_path, where="line 9")]
    )
    for key in "ab":
        assert str(tmp_path / key) in message
    assert (message.count("line 3"), message.count("line 9")) == (2, 2)


def test_what_two_items_ask_for_alike_is_in_the_plan_once(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1", "b": b"2"})
    both = [want(store, tmp_path), want(store, tmp_path, selection=Named(("a",)))]
    assert [each.object.key for each in planned(both).transfers] == ["a", "b"]


def test_what_has_no_identity_is_not_taken_for_the_same(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1"})
    store.stated["a"] = replace(store.remote("a"), etag=None)
    named = want(store, tmp_path, selection=Named(("a",)))
    assert str(tmp_path / "a") in refused([named, named])


@pytest.mark.parametrize("other", ["a//b", "a/b"])
def test_names_that_the_file_system_takes_for_one_conflict(tmp_path: Path, other: str) -> None:
    first, second = FaultyStore({"a/b": b"1"}), FaultyStore({other: b"2"})
    assert str(tmp_path / "a" / "b") in refused([want(first, tmp_path), want(second, tmp_path)])


@pytest.mark.parametrize(
    "keys", [("a", "a/b"), ("a/b", "a"), ("a/b/c/d", "a", "z"), ("a", "a/b/c")]
)
def test_a_file_where_another_needs_a_folder_is_refused(
    tmp_path: Path, keys: tuple[str, ...]
) -> None:
    message = refused([want(FaultyStore(dict.fromkeys(keys, b"")), tmp_path)])
    assert f"faulty://bucket/{min(keys, key=len)}" in message
    assert f"faulty://bucket/{max(keys, key=len)}" in message


def test_a_file_where_another_item_has_its_folder_is_refused(tmp_path: Path) -> None:
    # Absolute targets: the folder of the second item is the file of the first.
    path = str(tmp_path / "a")
    file = want(FaultyStore({"x": b"1"}), tmp_path, placement=At(path, str(tmp_path)))
    folder = want(FaultyStore({"y": b"2"}), tmp_path, placement=Under(path, path))
    assert path in refused([file, folder])
    assert path in refused([folder, file])


def test_names_that_only_look_like_folders_of_each_other_are_fine(tmp_path: Path) -> None:
    store = FaultyStore(dict.fromkeys(("a", "a.b", "a-b/c", "ab/c"), b""))
    assert len(planned([want(store, tmp_path)]).transfers) == 4


def test_different_kinds_of_offenders_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    store = FaultyStore(dict.fromkeys(("../up", "folder", "x", "x/y"), b""))
    message = refused([want(store, tmp_path)])
    assert message.count("\n") == 3


def test_a_link_that_leads_out_of_the_root_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "up").symlink_to("..")
    store = FaultyStore(dict.fromkeys(("link/a", "link/deep/b", "up/c", "fine/d"), b""))
    message = refused([want(store, root)])
    assert all(name in message for name in ("link/a", "link/deep/b", "up/c"))
    assert "fine/d" not in message
    assert list(outside.iterdir()) == []


def test_a_link_that_stays_in_the_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert len(planned([want(FaultyStore({"link/a": b"1"}), tmp_path)]).transfers) == 1


def test_a_root_that_is_reached_through_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    assert len(planned([want(FaultyStore({"a/b": b"1"}), tmp_path / "root")]).transfers) == 1


def test_a_link_that_is_fine_below_one_root_may_lead_out_of_another(tmp_path: Path) -> None:
    outer, outside = tmp_path / "outer", tmp_path / "outside"
    inner = outer / "inner"
    outer.mkdir()
    outside.mkdir()
    inner.symlink_to(outside)
    own = want(FaultyStore({"z/g": b"1"}), inner)
    foreign = want(FaultyStore({"inner/z/f": b"2"}), outer)
    assert "inner/z/f" in refused([foreign, own])
    assert "inner/z/f" in refused([own, foreign])
    assert "inner/z/g" not in refused([foreign, own])


@dataclass(frozen=True)
class InCache:
    """Links below ``snapshots``, bytes below ``blobs``."""

    root: str

    def place(self, remote: RemoteObject) -> Place:
        """See ``protocols.Placement``."""
        blob = f"{self.root}/blobs/{remote.etag}"
        return Place(f"{self.root}/snapshots/{remote.key}", self.root, blob)


@pytest.mark.parametrize("folder", ["blobs", "snapshots"])
def test_neither_bytes_nor_links_to_them_may_leave_the_root(tmp_path: Path, folder: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / folder).symlink_to(outside)
    cached = want(FaultyStore({"a": b"1"}), root, placement=InCache(str(root)))
    assert "snapshots/a" in refused([cached])


def test_a_folder_where_the_file_should_go_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    message = refused([want(FaultyStore({"a": b"1"}), tmp_path)])
    assert "a folder is where the file should go" in message
    assert str(tmp_path / "a") in message


def test_a_file_where_a_folder_is_needed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    message = refused([want(FaultyStore({"a/b/c": b"1"}), tmp_path)])
    assert str(tmp_path / "a" / "b" / "c") in message


@dataclass(frozen=True)
class Anywhere:
    """What a provider of somebody else's may come up with: the key is the path."""

    root: str
    blob: str | None = None

    def place(self, remote: RemoteObject) -> Place:
        """See ``protocols.Placement``."""
        return Place(f"{self.root}/{remote.key}", self.root, self.blob)


@pytest.mark.parametrize(
    "key",
    [
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "./a",
        "\0",
        "a\nb",
        ".kaiwo/x",
        "\ud800",
        "",
        "f/" * 2_100,
    ],
)
def test_the_plan_believes_no_placement(tmp_path: Path, key: str) -> None:
    root = tmp_path / "root"
    placement = Anywhere(str(root))
    message = refused([want(FaultyStore({key: b"1"}), root, placement=placement)])
    assert "config.yaml:3" in message
    assert files(tmp_path) == {}


@pytest.mark.parametrize("blob", ["/etc/x", "{root}/../x", "{root}/.kaiwo/x", "relative"])
def test_the_plan_believes_no_placement_of_a_blob_either(tmp_path: Path, blob: str) -> None:
    placement = Anywhere(str(tmp_path), blob.format(root=tmp_path))
    assert "faulty://bucket/a" in refused(
        [want(FaultyStore({"a": b"1"}), tmp_path, placement=placement)]
    )


def test_a_path_that_is_too_long_as_a_whole_is_refused_where_nothing_is_yet(
    tmp_path: Path,
) -> None:
    # Each segment, and each folder that exists, is short enough.
    key = "/".join(["d" * 200] * 21)
    assert "4095 bytes" in refused([want(FaultyStore({key: b"1"}), tmp_path)])


def test_of_many_offenders_a_hundred_are_named_and_the_rest_are_counted(tmp_path: Path) -> None:
    store = FaultyStore({f"../{number:05}": b"" for number in range(1_234)})
    message = refused([want(store, tmp_path)])
    assert message.count("'../") == 100
    assert message.endswith("\n  and 1,134 more")


# --- names that the file system takes for one -------------------------------------------------

FOLDED = (
    ("A", "a"),
    ("deep/Model.bin", "deep/model.bin"),
    ("caf\u00e9", "cafe\u0301"),
    ("Sub/x", "sub/X"),
)


def checked_where(folding: Folding, names: Sequence[str], root: Path) -> TargetCheck:
    """The targets of these names, checked for a root whose folders fold like that."""
    store = FaultyStore(dict.fromkeys(names, b""))
    checked = TargetCheck("run", FoldingProbe(lambda _: folding))
    listing, _ = listed([want(store, root)])
    list(checked.transfers(listing.found))
    return checked


@pytest.mark.parametrize("names", FOLDED)
def test_names_that_fold_into_one_are_refused_with_both_owners(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    (fault,) = checked_where(Folding(case=True, form=True), names, tmp_path).offenders
    for name in names:
        assert str(tmp_path / name) in fault
        assert f"faulty://bucket/{name}" in fault
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("names", FOLDED)
def test_they_are_files_of_their_own_where_names_do_not_fold(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    assert len(checked_where(Folding(), names, tmp_path).offenders) == 0


@pytest.mark.parametrize("names", [("a", "A/b"), ("A", "a/B/c"), ("x", "a/b", "A")])
def test_a_file_is_where_a_folder_is_needed_when_their_names_fold_into_one(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    assert len(checked_where(Folding(case=True), names, tmp_path).offenders) == 1
    assert len(checked_where(Folding(), names, tmp_path).offenders) == 0


def test_folders_that_fold_into_one_are_one_folder(tmp_path: Path) -> None:
    assert len(checked_where(Folding(case=True), ("A/x", "a/y"), tmp_path).offenders) == 0


@pytest.mark.parametrize("name", [".KAIWO/manifest.jsonl", "a/.Kaiwo", "x/.KAIWO-1.part"])
def test_kaiwos_own_names_are_refused_however_they_are_written(tmp_path: Path, name: str) -> None:
    (fault,) = checked_where(Folding(case=True), (name,), tmp_path).offenders
    assert name in fault
    assert "kaiwo's own" in fault
    assert len(checked_where(Folding(), (name,), tmp_path).offenders) == 0


def test_this_file_system_is_asked_only_when_names_differ_in_case_alone(tmp_path: Path) -> None:
    asked: list[str] = []

    def find_out(folder: str) -> Folding:
        asked.append(folder)
        return Folding()

    checked = TargetCheck("run", FoldingProbe(find_out))
    wants = [want(FaultyStore(dict.fromkeys(("Ab", "a/c", "\u00e9"), b"")), tmp_path)]
    list(checked.transfers(listed(wants)[0].found))
    assert asked == []
    twins = want(FaultyStore(dict.fromkeys(("x/Q", "x/q"), b"")), tmp_path)
    list(checked.transfers(listed([twins])[0].found))
    assert asked == [str(tmp_path)]


# --- what is there already --------------------------------------------------------------------


@pytest.fixture
def remembered(tmp_path: Path) -> FaultyStore:
    """A store of which everything is in place and remembered."""
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
    """In a process of its own: how many, the largest, how long, and how much the process grew."""
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
