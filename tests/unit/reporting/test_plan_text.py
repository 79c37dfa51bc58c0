"""A plan for people: groups, widths, and names that are data."""

from __future__ import annotations

import json
import unicodedata

import pytest

from kaiwo.errors import NotFoundError, UnsafeNameError
from kaiwo.jobs import PartialDownload, Plan, Transfer
from kaiwo.objects import Item, RemoteObject
from kaiwo.planning.decision import Decision
from kaiwo.planning.free_space import Room
from kaiwo.reporting import plan_json, plan_text
from tests.support.faulty import FaultyOpener, FaultyStore


def transfer(key: str, size: int = 10, task: str = "task", **fields: object) -> Transfer:
    opener = FaultyOpener(FaultyStore())
    named = Transfer(0, "0", task, opener, RemoteObject(key, size), f"/out/{key}", "/out")
    return Transfer(**{name: getattr(named, name) for name in named.__struct_fields__} | fields)


def decided(*transfers: Transfer, **fields: object) -> Decision:
    return Decision(**{"tasks": ("task",), "plan": Plan(transfers), **fields})  # type: ignore[arg-type]


def cells(line: str) -> int:
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in line)
    return len(line) + wide - sum(map(bool, map(unicodedata.combining, line)))


def test_groups_are_in_the_order_of_tasks_and_actions() -> None:
    partial = PartialDownload("/out/.part")
    missed = Item("one", "s3://b/none", "", "failed", 0, error=NotFoundError("none"))
    plan = Plan(
        (
            transfer("d", task="two"),
            transfer("c", task="one", present=True),
            transfer("b", task="one", partial=partial),
            transfer("a", task="one"),
        ),
        (transfer("e", task="one"),),
        (missed,),
    )
    lines = list(plan_text.lines(Decision(("one", "two", "three"), plan), None))
    heads = [line.split()[0] for line in lines if not line.startswith("     ") and line]
    assert heads == ["one", "fetch", "resume", "check", "unchanged", "failed", "two", "fetch", "3"]
    assert lines[-1] == (
        "3 files, 30 B to fetch; 1 file, 10 B to check; 1 file, 10 B in place; 1 failed"
    )


@pytest.mark.parametrize("width", [120, 80, 40])
@pytest.mark.parametrize(
    "key",
    [
        "a/" * 200,
        "日本語/" * 60,
        "n\u0303" * 200,
        "x",
        "esc\x1b[2J" * 30,
        "two\nlines" * 20,
        "\udcff" * 90,
    ],
)
def test_no_line_is_wider_than_the_terminal_nor_does_it_move_its_cursor(
    width: int, key: str
) -> None:
    room = Room("/models/" + "long/" * 20, 1 << 40, 1 << 30, 7, 5, False, False)
    for line in plan_text.lines(decided(transfer(key), rooms=(room,)), width):
        assert cells(line) <= width or "room" in line or "long" in line
        assert line.isprintable()


def test_on_a_narrow_terminal_no_number_is_left_out() -> None:
    partial = PartialDownload("/out/.part")
    size = 123 << 20
    lines = list(plan_text.lines(decided(transfer("b", size, partial=partial)), 40))
    assert lines[1:3] == ["  resume     1 file, 123.0 MiB of 123.0", "  MiB to fetch"]


def test_off_a_terminal_every_path_is_whole() -> None:
    key = "a/" * 200 + "b"
    (_, _, line, *_) = plan_text.lines(decided(transfer(key)), None)
    assert line.endswith(f"{key} -> /out/{key}")


def test_the_longer_path_gets_what_the_shorter_one_leaves() -> None:
    assert plan_text.shortened("0123456789", 5) == "01…89"
    (_, _, line, *_) = plan_text.lines(decided(transfer("x" * 30)), 72)
    assert cells(line) <= 72


def test_a_room_that_is_too_small_is_said() -> None:
    room = Room("/models", 2048, 1024, 7, 5, False, False)
    *_, line = plan_text.lines(decided(transfer("x"), rooms=(room,)), None)
    assert line == (
        "room on /models: 2.0 KiB needed, 1.0 KiB free; 7 inodes needed, 5 free: not enough"
    )


def test_conflicts_are_listed_for_programs() -> None:
    error = UnsafeNameError("these conflict:\n  a\n  b", ("a", "b"))
    text = "\n".join(plan_json.lines(decided(error=error)))
    document = json.loads(text)
    assert (document["exit_code"], document["conflicts"]) == (2, ["a", "b"])
    assert document["items"] == []


def test_a_plan_of_odd_keys_is_json() -> None:
    text = "\n".join(plan_json.lines(decided(*map(transfer, ("a", "\x1b", "\udcff", "b")))))
    document = json.loads(text)
    assert [item["target"] for item in document["items"]] == [
        "/out/a",
        "/out/\x1b",
        "/out/\udcff",
        "/out/b",
    ]
    assert document["totals"]["fetch"] == {"files": 4, "bytes": 40}
