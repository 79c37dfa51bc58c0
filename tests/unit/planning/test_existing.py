"""What is at many targets is asked by folder, and several at once where answers take long."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kaiwo.planning.existing import statuses


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The single questions to the system."""
    seen, stat = [], os.stat

    def asking(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        seen.append(str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", asking)
    return seen


def made(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number}").write_bytes(bytes(number))
    return [str(folder / f"{number}") for number in range(count)]


def test_folders_are_listed_instead(tmp_path: Path, asked: list[str]) -> None:
    there = made(tmp_path / "a", 1000) + made(tmp_path / "b/c", 10)
    missing = [str(tmp_path / name) for name in ("a/new", "b/c/new", *(f"d/{n}" for n in range(9)))]
    asked.clear()
    found = statuses([*there, *missing])
    assert asked == []
    sizes = {path: getattr(answer, "st_size", None) for path, answer in found.items()}
    assert sizes == {path: int(Path(path).name) for path in there}


def test_what_is_no_plain_file_is_told_as_before(tmp_path: Path) -> None:
    made(tmp_path / "a", 10)
    (tmp_path / "a/folder").mkdir()
    (tmp_path / "a/link").symlink_to("5")
    (tmp_path / "a/dangling").symlink_to("nowhere")
    names = ["a/folder", "a/link", "a/dangling", "a/1", *(f"a/1/{n}" for n in range(5))]
    found = statuses([str(tmp_path / name) for name in names])
    assert found[str(tmp_path / "a/folder")] == os.stat(tmp_path / "a/folder")
    assert found[str(tmp_path / "a/link")] == os.stat(tmp_path / "a/5")
    assert str(tmp_path / "a/dangling") not in found
    errors = [found[str(tmp_path / f"a/1/{n}")] for n in range(5)]
    assert [getattr(each, "errno", None) for each in errors] == [errno.ENOTDIR] * 5


def test_a_folder_of_many_others_is_not_listed_to_its_end(tmp_path: Path, asked: list[str]) -> None:
    there = made(tmp_path / "a", 3000)
    wanted = there[::500]
    asked.clear()
    assert sorted(statuses(wanted)) == sorted(wanted)
    assert set(asked) < set(wanted)


def test_a_name_that_the_folder_may_take_for_another_is_asked_for(
    tmp_path: Path, asked: list[str]
) -> None:
    made(tmp_path / "a", 5)
    (tmp_path / "a/Model.bin").touch()
    names = [*"1234", "model.bin", "other.bin"]
    asked.clear()
    found = statuses([str(tmp_path / "a" / name) for name in names])
    assert asked == [str(tmp_path / "a/model.bin")]
    assert len(found) == 4


def test_a_name_that_is_no_utf_8_is_found_by_both_of_its_spellings(tmp_path: Path) -> None:
    made(tmp_path / "a", 5)
    (tmp_path / "a/\u00e9").touch()
    odd = str(tmp_path / "a" / b"\xc3\xa9".decode("ascii", "surrogateescape"))
    assert odd in statuses([odd, *(str(tmp_path / f"a/{n}") for n in range(5))])


def test_slow_answers_come_several_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system; one after the other, these would take 6 s."""
    there = [path for number in range(1000) for path in made(tmp_path / f"{number}", 3)]
    stat, threads = os.stat, set()

    def slow(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path)):
            threads.add(threading.get_ident())
            time.sleep(0.002)
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", slow)
    start_s = time.monotonic()
    assert len(statuses(there)) == 3000
    assert time.monotonic() - start_s < 3
    assert len(threads) > 4
