"""Which names a file system takes for one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from kaiwo.planning.case_folding import Folding, FoldingProbe, folded, possible_own_names, probe

NOTHING, CASE, FORM = Folding(), Folding(case=True), Folding(form=True)
BOTH = Folding(case=True, form=True)


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ("Model.bin", "model.BIN", (CASE, BOTH)),
        ("\u00c4", "\u00e4", (CASE, BOTH)),
        ("stra\u00dfe", "STRASSE", (CASE, BOTH)),
        ("\u212aelvin", "kelvin", (CASE, BOTH)),
        ("caf\u00e9", "cafe\u0301", (FORM, BOTH)),
        ("CAF\u00c9", "cafe\u0301", (BOTH,)),
        (".kai\u200bwo", ".kaiwo", (BOTH,)),
        ("a\u0323\u0301", "a\u0301\u0323", (FORM, BOTH)),
    ],
)
def test_names_are_one_where_what_differs_is_folded(
    one: str, other: str, where: Sequence[Folding]
) -> None:
    assert folded(one) == folded(other)
    for folding in (NOTHING, CASE, FORM, BOTH):
        assert folding.are_equal(one, other) is folding.are_equal(other, one)
    assert tuple(each for each in (CASE, FORM, BOTH) if each.are_equal(one, other)) == where
    assert not NOTHING.are_equal(one, other)


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("a", "a "), ("e", "\u00e9"), ("o", "0")])
def test_other_names_are_different_everywhere(one: str, other: str) -> None:
    assert folded(one) != folded(other)


def test_a_slash_stays_where_it_is() -> None:
    assert folded("/A/\u00c4/b").split("/") == ["", "a", "\u00e4", "b"]


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
