"""Where an object goes, and which names may not go anywhere."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from kaiwo.errors import UnsafeNameError
from kaiwo.files.names import fault_of, fault_of_place, is_plain
from kaiwo.files.paths import collisions, is_within, real_path
from kaiwo.files.placement import At, Under, resolve
from kaiwo.objects import Place, RemoteObject
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
    "a\x85b": "control",
    "a\x9b31mb": "control",
    "a\u2028b": "control",
    "a/b\u2029": "control",
    "a\ud800b": "encoded",
    "a" * 256: "255",
    "folder/" + "ñ" * 128: "255",
    "🚀" * 64 + "/a": "255",
    ".kaiwo": "own folder",
    ".kaiwo/manifest.jsonl": "own folder",
    ".kaiwo//manifest.jsonl": "own folder",
    "m/.kaiwo/manifest.jsonl": "own folder",
    ".kaiwo-9f1c22aa-0.part": "temporary files",
    "m/.kaiwo-.part": "temporary files",
    ".kaiwo-x.link/a": "temporary files",
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
    ".kaiwo-notes.txt",
    "kaiwo-1.part",
    "a.part",
    ".KAIWO.md",
    "nbsp\u00a0and\u200bnothing",
    "family-\U0001f468\u200d\U0001f469.txt",
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


def test_two_spellings_of_the_same_bytes_are_one_path(tmp_path: Path) -> None:
    # As names of a local source come that are no UTF-8; on the disk both are the same file.
    one, other = str(tmp_path / "\udcc3\udca9"), str(tmp_path / "\u00e9")
    assert one != other
    assert real_path(one, {}) == real_path(other, {}) == other


# --- whole paths ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/t/../etc/passwd", "'..'"),
        ("/t/a/../../etc", "'..'"),
        ("/t/./a", "'.'"),
        ("/t", "not below"),
        ("/t/", "names no file"),
        ("/tx/a", "not below"),
        ("/etc/passwd", "not below"),
        ("t/a", "not below"),
        ("/t//a", "absolute"),
        ("/t/a\nb", "control"),
        ("/t/.kaiwo/manifest.jsonl", "own folder"),
        ("/t/a/.kaiwo-1.part", "temporary files"),
        ("/t/" + "a" * 256, "255"),
        ("/t/" + "folder/" * 600 + "a", "4095"),
        ("/t/" + "\u00f1/" * 1_400 + "a", "4095"),
    ],
)
def test_a_path_is_checked_below_its_root_whoever_placed_it(path: str, reason: str) -> None:
    assert reason in (fault_of_place(path, "/t") or "")


@pytest.mark.parametrize(
    "below",
    [*HOSTILE, ".Kaiwo/a", "a/.KAIWO-1.part", "日本/a", "a//b", "a" * 250, "folder/" * 600 + "a"],
)
def test_what_has_a_fault_or_needs_a_second_look_is_not_plain(below: str) -> None:
    assert not is_plain(f"/t/{below}", "/t")


@pytest.mark.parametrize("root", ["/", "/t", "/.kaiwo/日本"])
def test_an_everyday_path_below_its_root_is_plain(root: str) -> None:
    path = f"{root.rstrip('/')}/models/Llama-3.1_8B/model-00001-of-00004.safetensors"
    assert is_plain(path, root)
    assert fault_of_place(path, root) is None
    assert not is_plain(f"/elsewhere{path}", "/t")


@pytest.mark.parametrize("root", ["/", "/t", "/.kaiwo/t", "/t/.."])
def test_only_what_is_below_the_root_is_checked(root: str) -> None:
    assert fault_of_place(f"{root.rstrip('/')}/a/b", root) is None


def test_the_longest_path_that_is_accepted_can_be_written_with_its_temporary_file(
    tmp_path: Path,
) -> None:
    root = str(tmp_path)
    longest = max(
        (
            path
            for length in range(3_900, 4_100)
            if fault_of_place(path := _path_of(root, length), root) is None
        ),
        key=len,
    )
    assert len(longest) > 3_990
    folder = os.path.dirname(longest)
    os.makedirs(folder)
    temporary = f"{folder}/.kaiwo-{'f' * 16}-{'f' * 8}.99.part"
    Path(temporary).write_bytes(b"x")
    os.replace(temporary, longest)
    assert Path(longest).read_bytes() == b"x"


def _path_of(root: str, length: int) -> str:
    """A path of so many letters below a root, with a name of one letter."""
    path = root
    while len(path) + 102 < length:
        path += "/" + "d" * 99
    return path + "/" + "e" * (length - len(path) - 3) + "/a"


# --- files in each other's way ----------------------------------------------------------------


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
