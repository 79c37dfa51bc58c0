"""Paths: containment, links, collisions, and what a regular file is."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from kaiwo.files.paths import collisions, is_within, real_path, regular_file


@pytest.mark.parametrize(
    ("path", "folder", "inside"),
    [
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/ab", "/a", False),
        ("/", "/a", False),
        ("/a", "/", True),
        ("/", "/", True),
    ],
)
def test_within_is_by_whole_segments(path: str, folder: str, inside: bool) -> None:
    assert is_within(path, folder) is inside


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("/", "/"),
        ("..", "."),
        ("../outside", "outside"),
        ("inside/../../outside", "outside"),
        ("inside", "root/inside"),
        (".", "root"),
        ("nowhere", "root/nowhere"),
        ("../nowhere", "nowhere"),
        ("chain", "outside"),
    ],
)
def test_links_on_the_way_are_followed(tmp_path: Path, link: str, leads_to: str) -> None:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "chain").symlink_to("../outside")
    (root / "link").symlink_to(link)
    folder = os.path.normpath(tmp_path / leads_to)
    for name in ("a", "new/folder/a"):
        assert real_path(str(root / "link" / name), {}) == os.path.join(folder, name)


def test_the_link_at_the_end_is_not_followed(tmp_path: Path) -> None:
    # It is what publishing replaces.
    (tmp_path / "link").symlink_to("elsewhere")
    assert real_path(str(tmp_path / "link"), {}) == str(tmp_path / "link")


def test_a_link_to_itself_is_no_endless_way(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert real_path(str(tmp_path / "loop" / "a"), {}) == str(tmp_path / "loop" / "a")


def test_answers_for_folders_are_kept(tmp_path: Path) -> None:
    folders: dict[str, str] = {}
    real_path(str(tmp_path / "a" / "b"), folders)
    real_path(str(tmp_path / "a" / "c"), folders)
    assert folders == {str(tmp_path / "a"): str(tmp_path / "a")}


def test_two_spellings_of_the_same_bytes_are_one_path(tmp_path: Path) -> None:
    # As names of a local source come that are no UTF-8; on the disk both are the same file.
    one, other = str(tmp_path / "\udcc3\udca9"), str(tmp_path / "\u00e9")
    assert one != other
    assert real_path(one, {}) == real_path(other, {}) == other


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], []),
        (["/a", "/b/c", "/b-/c", "/b.d"], []),
        (["/a/b", "/a"], [("/a", "/a/b")]),
        (["/a", "/a-b", "/a.c", "/a/b/c"], [("/a", "/a/b/c")]),
        (["/a", "/a/b", "/a/b/c", "/a/d"], [("/a", "/a/b"), ("/a/b", "/a/b/c"), ("/a", "/a/d")]),
    ],
)
def test_a_file_is_in_the_way_of_what_lies_below_its_name(
    paths: list[str], expected: list[tuple[str, str]]
) -> None:
    assert list(collisions(paths, str)) == expected


def test_paths_of_one_name_are_in_the_way_of_the_first() -> None:
    paths = ["/A/b", "/a/B", "/x", "/a/b/c", "/a/b"]
    assert set(collisions(paths, str.lower)) == {
        ("/A/b", "/a/B"),
        ("/A/b", "/a/b"),
        ("/A/b", "/a/b/c"),
    }


def test_keys_of_thousands_of_segments_cost_no_memory_to_speak_of() -> None:
    paths = [f"/{number}" + "/d" * 500 + "/f" for number in range(2_000)]
    tracemalloc.start()
    try:
        assert list(collisions(paths, str)) == []
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_only_a_regular_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = {name: regular_file(str(tmp_path / name)) for name in os.listdir(tmp_path)}
    assert {name for name, status in found.items() if status} == {"file", "link"}
    assert regular_file(str(tmp_path / "file" / "below")) is None
    assert regular_file(str(tmp_path / "nothing")) is None
