"""Names and targets that a plan refuses: hostile, conflicting, one to the file system."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import (
    UnsafeNameError,
)
from kaiwo.files.placement import At, Under
from kaiwo.jobs import Want
from kaiwo.objects import Named, Place, RemoteObject
from kaiwo.planning.case_folding import Folding, FoldingProbe
from kaiwo.planning.conflicts import TargetCheck
from tests.support.faulty import (
    FaultyStore,
    files,
)
from tests.support.planning import listed, planned, want


def refused(wants: Sequence[Want]) -> str:
    with pytest.raises(UnsafeNameError) as caught:
        planned(wants)
    return caught.value.message


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
    store.stated["a"] = replace(store.remote("a"), etag=None, checksum=None)
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
    ("a", "a."),
    ("a./x", "a/x "),
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
    everything = Folding(case=True, form=True, ends=True)
    (fault,) = checked_where(everything, names, tmp_path).offenders
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


@pytest.mark.parametrize("name", ["...", "a/. /b", "LONGNA~1.TXT", "kaiwo~1/manifest.jsonl"])
def test_names_that_may_stand_for_something_else_are_refused(tmp_path: Path, name: str) -> None:
    (fault,) = checked_where(Folding(ends=True, short=True), (name,), tmp_path).offenders
    assert name in fault
    assert "this file system" in fault
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
