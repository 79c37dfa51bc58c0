"""Which names no file may get."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaiwo.errors import UnsafeNameError
from kaiwo.files.names import fault_of, fault_of_place, is_plain
from kaiwo.files.paths import is_within
from kaiwo.files.placement import Under
from kaiwo.objects import RemoteObject
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
