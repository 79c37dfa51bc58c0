"""Where an object goes, and which names may not go anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaiwo.errors import UnsafeNameError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Place
from kaiwo.targets import At, Under, fault_of, is_within, real_path, resolve
from kaiwo.testing import ODD_NAMES

HOSTILE = {
    "": "names no file",
    "/": "absolute",
    "/etc/passwd": "absolute",
    "//etc/passwd": "absolute",
    "..": "'..'",
    "../a": "'..'",
    "a/..": "'..'",
    "a/../b": "'..'",
    "a/b/../../../c": "'..'",
    ".": "'.'",
    "./a": "'.'",
    "a/./b": "'.'",
    "a/.": "'.'",
    "a\0b": "control",
    "a\nb": "control",
    "a\rb": "control",
    "a\tb": "control",
    "a\x1b[31mb": "control",
    "a\x7fb": "control",
    "a\ud800b": "encoded",
    "a" * 256: "255",
    "folder/" + "ñ" * 128: "255",
    "🚀" * 64 + "/a": "255",
    ".kaiwo": "own folder",
    ".kaiwo/manifest.jsonl": "own folder",
    ".kaiwo//manifest.jsonl": "own folder",
    "m/.kaiwo/manifest.jsonl": "own folder",
}
HARMLESS = (
    *ODD_NAMES,
    "a",
    "a/b/c",
    "a//b",
    "a///b",
    "...",
    "..a/b..",
    "a..b",
    ".a",
    "a ",
    " ",
    "~",
    "~/a",
    "-rf",
    "C:\\windows",
    "a\\..\\b",
    "a%2F..%2Fb",
    "$HOME",
    "x" * 255,
    "ñ" * 127,
    ".kaiwo.txt",
    ".kaiwo2/a",
)


@pytest.mark.parametrize(("name", "reason"), HOSTILE.items(), ids=map(ascii, HOSTILE))
def test_a_hostile_name_has_a_fault_that_says_why(name: str, reason: str) -> None:
    assert reason in (fault_of(name) or "")
    with pytest.raises(UnsafeNameError, match="key ") as caught:
        Under("/models/x", "/models", "prefix/").place(RemoteObject(f"prefix/{name}", 1))
    assert repr(f"prefix/{name}") in caught.value.message
    assert reason in caught.value.message


@pytest.mark.parametrize("name", HARMLESS, ids=map(ascii, HARMLESS))
def test_a_harmless_name_is_kept_as_it_is(tmp_path: Path, name: str) -> None:
    assert fault_of(name) is None
    root = str(tmp_path)
    place = Under(root, root, "p/").place(RemoteObject(f"p/{name}", 1))
    assert place.root == root
    assert is_within(place.target, root)
    path = Path(place.target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    (found,) = (each for each in tmp_path.rglob("*") if each.is_file())
    assert str(found.relative_to(tmp_path)) == name.replace("///", "/").replace("//", "/")


def test_only_the_prefix_itself_is_cut() -> None:
    place = Under("/t", "/t", "a/").place(RemoteObject("a/a/b", 1))
    assert place == Place("/t/a/b", "/t")


def test_a_file_goes_where_its_target_says_whatever_its_key() -> None:
    assert At("/t/x.bin", "/t").place(RemoteObject("../../y", 1)) == Place("/t/x.bin", "/t")


@pytest.mark.parametrize(
    ("target_path", "is_file", "expected"),
    [
        ("a/b", True, ("/srv/dl/a/b", "/srv/dl")),
        ("a/b", False, ("/srv/dl/a/b", "/srv/dl")),
        ("a//b/./c/", False, ("/srv/dl/a/b/c", "/srv/dl")),
        (".", False, ("/srv/dl", "/srv/dl")),
        ("/srv/dl/a", True, ("/srv/dl/a", "/srv/dl")),
        ("/srv/dl", False, ("/srv/dl", "/srv/dl")),
        ("/elsewhere/a", False, ("/elsewhere/a", "/elsewhere/a")),
        ("/elsewhere/a", True, ("/elsewhere/a", "/elsewhere")),
        ("/elsewhere/a/", False, ("/elsewhere/a", "/elsewhere/a")),
        ("//elsewhere/a", False, ("/elsewhere/a", "/elsewhere/a")),
        ("/srv/dl2", False, ("/srv/dl2", "/srv/dl2")),
        ("/a", True, ("/a", "/")),
        ("/", False, ("/", "/")),
    ],
)
def test_a_target_has_the_download_root_or_its_own(
    target_path: str, is_file: bool, expected: tuple[str, str]
) -> None:
    assert resolve(target_path, "/srv/dl", is_file=is_file) == expected


def test_with_the_whole_disk_as_download_root_everything_is_below_it() -> None:
    assert resolve("/elsewhere/a", "/", is_file=True) == ("/elsewhere/a", "/")
    assert resolve("a", "/", is_file=True) == ("/a", "/")


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
