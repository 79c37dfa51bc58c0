"""Placement: where an object goes, and which root its target has."""

from __future__ import annotations

import pytest

from kaiwo.files.placement import At, Under, resolve
from kaiwo.objects import Place, RemoteObject


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
