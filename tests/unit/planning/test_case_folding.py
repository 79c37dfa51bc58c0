"""Which names a file system takes for one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from kaiwo.planning.case_folding import (
    Folding,
    FoldingProbe,
    doubtful_names,
    folded,
    possible_own_names,
    probe,
)

NOTHING, CASE, FORM = Folding(), Folding(case=True), Folding(form=True)
BOTH, ENDS = Folding(case=True, form=True), Folding(ends=True)
ALL = Folding(case=True, form=True, ends=True)


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ("Model.bin", "model.BIN", (CASE, BOTH, ALL)),
        ("\u00c4", "\u00e4", (CASE, BOTH, ALL)),
        ("stra\u00dfe", "STRASSE", (CASE, BOTH, ALL)),
        ("\u212aelvin", "kelvin", (CASE, BOTH, ALL)),
        ("caf\u00e9", "cafe\u0301", (FORM, BOTH, ALL)),
        ("CAF\u00c9", "cafe\u0301", (BOTH, ALL)),
        (".kai\u200bwo", ".kaiwo", (BOTH, ALL)),
        ("a\u0323\u0301", "a\u0301\u0323", (FORM, BOTH, ALL)),
        ("a", "a.", (ENDS, ALL)),
        ("a ", "a. .", (ENDS, ALL)),
        ("A. ", "a", (ALL,)),
        ("\u00e9.", "e\u0301", (ALL,)),
    ],
)
def test_names_are_one_where_what_differs_is_folded(
    one: str, other: str, where: Sequence[Folding]
) -> None:
    assert folded(one) == folded(other)
    kinds = (CASE, FORM, BOTH, ENDS, ALL)
    for folding in (NOTHING, *kinds):
        assert folding.are_equal(one, other) is folding.are_equal(other, one)
    assert tuple(each for each in kinds if each.are_equal(one, other)) == where
    assert not NOTHING.are_equal(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("a", "b"), ("a", " a"), ("a", ".a"), ("e", "\u00e9"), ("o", "0")]
)
def test_other_names_are_different_everywhere(one: str, other: str) -> None:
    assert folded(one) != folded(other)


def test_a_slash_stays_where_it_is() -> None:
    assert folded("/A/\u00c4/b").split("/") == ["", "a", "\u00e4", "b"]
    assert folded("/A./.../b. ").split("/") == ["", "a", "", "b"]


@pytest.mark.parametrize(
    ("name", "folding"),
    [
        ("...", ENDS),
        (". .", ENDS),
        ("LONGNA~1.TXT", Folding(short=True)),
        ("kaiwo~12", Folding(short=True)),
    ],
)
def test_a_name_that_may_stand_for_something_else_is_no_name(name: str, folding: Folding) -> None:
    assert list(doubtful_names(f"/r/a/{name}/b", "/r")) == [("/r/a", name)]
    assert list(doubtful_names(f"/{name}", "/")) == [("/", name)]
    assert folding.fault_of(name)
    assert NOTHING.fault_of(name) is None


@pytest.mark.parametrize("name", ["a.", "a~b", "longername~1", "a~1.html", "~1", "..a"])
def test_any_other_name_is_one(name: str) -> None:
    assert list(doubtful_names(f"/r/{name}", "/r")) == []
    assert Folding(ends=True, short=True).fault_of(name) is None


def test_probing_a_folder_leaves_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"x")
    found = probe(str(tmp_path))
    assert os.listdir(tmp_path) == ["mine"]
    # By the plain way: is the other name there?
    assert found.case is (tmp_path / "MINE").exists()


def test_a_folder_that_cannot_be_written_folds_nothing() -> None:
    assert probe("/proc/self") == NOTHING


def test_each_folder_is_probed_once_and_one_that_is_missing_is_never_made(tmp_path: Path) -> None:
    probed: list[str] = []

    def find_out(folder: str) -> Folding:
        probed.append(folder)
        return CASE

    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_bytes(b"")
    foldings = FoldingProbe(find_out)
    for name in ("there", "there/new", "there/new/er", "file/x", "other"):
        assert foldings.folding_of(f"{tmp_path}/{name}") == CASE
    assert probed == [f"{tmp_path}/there", str(tmp_path)]
    assert sorted(os.listdir(tmp_path)) == ["file", "there"]


def test_paths_meet_where_the_folder_of_their_first_difference_folds(tmp_path: Path) -> None:
    root = str(tmp_path)
    (tmp_path / "folds").mkdir()
    foldings = FoldingProbe(lambda folder: CASE if folder.endswith("folds") else NOTHING)
    assert foldings.collide(f"{root}/folds/A/x", f"{root}/folds/a/X")
    assert foldings.collide(f"{root}/folds/A", f"{root}/folds/a/b/c")
    assert not foldings.collide(f"{root}/A/x", f"{root}/a/x")
    assert not foldings.collide(f"{root}/folds/caf\u00e9", f"{root}/folds/cafe\u0301")


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        (".KAIWO/manifest.jsonl", [("/r", ".KAIWO", ".kaiwo")]),
        ("a/.Kaiwo", [("/r/a", ".Kaiwo", ".kaiwo")]),
        ("a/.\u212aaiwo/b", [("/r/a", ".\u212aaiwo", ".kaiwo")]),
        ("a/.kai\u200bwo/b", [("/r/a", ".kai\u200bwo", ".kaiwo")]),
        ("x/.Kaiwo-1.PART", [("/r/x", ".Kaiwo-1.PART", ".kaiwo-1.part")]),
        (".kaiwo./x", [("/r", ".kaiwo.", ".kaiwo")]),
        ("x/.Kaiwo-1.part .", [("/r/x", ".Kaiwo-1.part .", ".kaiwo-1.part")]),
        (".kaiwo.txt", []),
        (".KAIWO.txt", []),
        ("KAIWO/a", []),
        ("\u65e5\u672c/a", []),
    ],
)
def test_names_that_may_be_kaiwos_own_are_found_with_their_folders(
    relative: str, expected: list[tuple[str, str, str]]
) -> None:
    assert list(possible_own_names(f"/r/{relative}", "/r")) == expected
    below_the_disk = [(folder[2:] or "/", *names) for folder, *names in expected]
    assert list(possible_own_names(f"/{relative}", "/")) == below_the_disk
