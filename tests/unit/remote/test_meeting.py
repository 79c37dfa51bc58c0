"""The folder where a run meets its workers: what each says, and when the run is over."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kaiwo.errors import DiskError
from kaiwo.remote import ending
from kaiwo.remote.ending import EndElsewhere
from kaiwo.remote.meeting import (
    SILENT_S,
    Arrived,
    Busy,
    Letter,
    LetterBox,
    Logged,
    Meeting,
    end_dead,
    unseen_of,
)


def only_dead(_root: str, run: str) -> bool:
    return run == "dead"


@pytest.fixture
def meeting(tmp_path: Path) -> Meeting:
    return Meeting("ab", [str(tmp_path)])


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "LOOK_S", 0.0)


def test_letters_arrive_once_and_in_order(meeting: Meeting) -> None:
    box = LetterBox(meeting.folders[0], "site")
    first: list[Letter] = [
        Busy(2),
        Arrived(1, 0, 8, 100, 0, (108, "crc32c", 7)),
        Logged(30, "kaiwo", "a\nb"),
    ]
    box.post(first)
    assert list(meeting.letters()) == [("site", each) for each in first]
    box.post([Busy(0)])
    assert list(meeting.letters()) == [("site", Busy(0))]


def test_half_a_letter_waits_for_its_other_half_and_nonsense_says_nothing(
    meeting: Meeting,
) -> None:
    path = Path(meeting.folders[0], "site.jsonl")
    path.write_bytes(b'nonsense\n["Busy",1]\n["Bu')
    assert list(meeting.letters()) == [("site", Busy(1))]
    with path.open("ab") as file:
        file.write(b'sy",5]\n')
    assert list(meeting.letters()) == [("site", Busy(5))]


def test_a_run_is_over_when_it_says_so(meeting: Meeting) -> None:
    end = EndElsewhere(meeting.folders[0])
    meeting.beat(7)
    assert not end.is_set()
    assert end.requests == 7
    meeting.end()
    assert end.is_set()
    assert unseen_of(meeting.folders) == meeting.folders[0]


def test_a_run_that_says_nothing_for_long_is_over(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    end = EndElsewhere(meeting.folders[0])
    assert not end.is_set()
    now_s += SILENT_S - 1
    assert not end.is_set()
    meeting.beat(0)
    assert not end.is_set()
    now_s += SILENT_S
    assert end.is_set()


def test_nothing_is_left_of_it_nor_of_a_run_that_was_killed(tmp_path: Path) -> None:
    killed = Meeting("dead", [str(tmp_path)])
    LetterBox(killed.folders[0], "site").post([Busy(1)])
    living = Meeting("ab", [str(tmp_path)])
    end_dead([str(tmp_path)], "ab", only_dead)
    assert os.listdir(tmp_path / ".kaiwo") == ["run-ab"]
    living.close()
    assert os.listdir(tmp_path) == []


def test_a_root_that_takes_no_folder_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / ".kaiwo").write_bytes(b"")
    with pytest.raises(DiskError):
        Meeting("ab", [str(tmp_path)])


def test_a_link_in_place_of_a_letter_is_not_followed(meeting: Meeting, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b'["Busy",1]\n')
    Path(meeting.folders[0], "site.jsonl").symlink_to(tmp_path / "elsewhere")
    assert list(meeting.letters()) == []
