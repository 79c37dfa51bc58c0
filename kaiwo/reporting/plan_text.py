"""A plan for people: by task, then by action; then the totals, and the room on each file system.

    MyS3Download
      fetch      2 files, 1.5 GiB
         1.2 GiB  s3://bucket/models/a.bin -> /models/a.bin
       300.0 MiB  s3://bucket/models/b.bin -> /models/b.bin
      unchanged  120 files, 3.4 GiB

    122 files: 2 files, 1.5 GiB to fetch; 120 files, 3.4 GiB in place
    room on /models: 1.5 GiB needed, 200.0 GiB free

On a terminal, a line is no wider than that: paths are shortened from the middle, and a narrow one
has the target below the source. Elsewhere every path is whole. There is no colour.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from kaiwo import units
from kaiwo.planning.decision import Action, Decision, Planned
from kaiwo.planning.free_space import Room
from kaiwo.planning.prune import Stale
from kaiwo.planning.snapshots import Snapshot
from kaiwo.reporting.plan_json import totals

#: Columns before a path: the size and the space around it.
_BEFORE = 14
_ARROW = " -> "
#: A narrower terminal has source and target below each other.
_NARROW = 72


def lines(decision: Decision, width: int | None, *, all_: bool = False) -> Iterator[str]:
    """The plan as lines.

    Args:
        decision: see there.
        width: columns of the terminal; None elsewhere.
        all_: list what is unchanged, too.
    """
    by_task: dict[str, list[Planned]] = {name: [] for name in decision.tasks}
    for each in decision.planned():
        by_task.setdefault(each.task, []).append(each)
    for name, planned in by_task.items():
        if planned:
            yield shortened(units.printable(name), width)
            for action in get_args(Action):
                some = [each for each in planned if each.action == action]
                yield from _action(action, some, width, all_=all_)
    if decision.stale:
        yield from _removals(decision.stale, width)
    for snapshot in decision.switches:
        yield from _switch(snapshot, width)
    if any(by_task.values()):
        yield ""
    for line in (*_totals(decision), *map(_room, decision.rooms)):
        yield from _wrapped(line, width)


def _action(
    action: str, planned: Sequence[Planned], width: int | None, *, all_: bool
) -> Iterator[str]:
    if not planned:
        return
    count = units.count(len(planned), "item" if action == "failed" else "file")
    rest = "" if action == "failed" else f", {_size(planned)}"
    if action == "resume":
        whole = units.size(sum(each.bytes or 0 for each in planned))
        left = units.size(sum(each.bytes_to_fetch or 0 for each in planned))
        rest = f", {left} of {whole} to fetch"
    yield from _wrapped(f"  {action:<9}  {count}{rest}", width)
    if action != "unchanged" or all_:
        for each in planned:
            yield from _object(each, width)


def _removals(stale: Sequence[Stale], width: int | None) -> Iterator[str]:
    size = units.size(sum(each.record.size for each in stale))
    count = units.count(len(stale), "file")
    yield from _wrapped(f"remove, once all is in place: {count}, {size}", width)
    for each in stale:
        target = shortened(units.printable(each.target), width and width - _BEFORE)
        yield f"{units.size(each.record.size):>{_BEFORE - 2}}  {target}"


def _switch(snapshot: Snapshot, width: int | None) -> Iterator[str]:
    """What becomes of a snapshot, and what it will lack."""
    kept = "" if not snapshot.gone else f", without {units.count(len(snapshot.gone), 'file')}"
    if not snapshot.is_whole:
        kept = "; not in this run: not all of it could be listed"
    yield from _wrapped(f"switch, once all is in place: a new generation{kept}", width)
    for path in (snapshot.target, *snapshot.gone):
        yield " " * _BEFORE + shortened(units.printable(path), width and width - _BEFORE)


def _object(planned: Planned, width: int | None) -> Iterator[str]:
    size = "?" if planned.bytes is None else units.size(planned.bytes)
    before = " " * _BEFORE if planned.action == "failed" else f"{size:>{_BEFORE - 2}}  "
    source, target = units.printable(planned.source), units.printable(planned.target)
    if not target:
        yield before + shortened(source, width and width - _BEFORE)
    elif width is None:
        yield f"{before}{source}{_ARROW}{target}"
    elif width < _NARROW:
        yield before + shortened(source, width - _BEFORE)
        yield " " * (_BEFORE - 3) + "-> " + shortened(target, width - _BEFORE)
    else:
        source, target = _both(source, target, width - _BEFORE - len(_ARROW))
        yield f"{before}{source}{_ARROW}{target}"


def _both(source: str, target: str, room: int) -> tuple[str, str]:
    """Source and target in that room; what the shorter one leaves is for the longer one."""
    half = room // 2
    left = room - min(_cells(source), max(half, room - _cells(target)))
    return shortened(source, room - min(left, _cells(target))), shortened(target, left)


def _size(planned: Iterable[Planned]) -> str:
    sizes = [each.bytes for each in planned]
    known = units.size(sum(size for size in sizes if size is not None))
    return known if None not in sizes else f"{known} and what is not stated"


def _totals(decision: Decision) -> Iterator[str]:
    found = totals(decision)
    parts = []
    to_fetch = found["fetch"]["files"] + found["resume"]["files"]
    files, bytes_ = units.count(to_fetch, "file"), units.size(found["bytes_to_fetch"])
    parts.append(f"{files}, {bytes_} to fetch")
    if found["check"]["files"]:
        size = units.size(found["check"]["bytes"])
        parts.append(f"{units.count(found['check']['files'], 'file')}, {size} to check")
    unchanged = units.count(found["unchanged"]["files"], "file")
    parts.append(f"{unchanged}, {units.size(found['bytes_in_place'])} in place")
    if found["failed"]["files"]:
        parts.append(f"{found['failed']['files']} failed")
    if decision.error is None or decision.plan.transfers:
        yield "; ".join(parts)


def _room(room: Room) -> str:
    needed = units.size(room.bytes_needed)
    free = "unknown" if room.bytes_free is None else units.size(room.bytes_free)
    where = "memory of this pod" if room.is_memory else units.printable(room.folder)
    text = f"room on {where}: {needed} needed, {free} free"
    lacks_inodes = room.inodes_free is not None and room.inodes_needed > room.inodes_free
    if lacks_inodes:
        text += f"; {room.inodes_needed:,} inodes needed, {room.inodes_free:,} free"
    return text if room.is_enough else f"{text}: not enough"


def _wrapped(line: str, width: int | None) -> Iterator[str]:
    """The line; where it is too long, divided between words."""
    rest = line
    while width is not None and _cells(rest) > width and (cut := rest.rfind(" ", 1, width)) > 0:
        yield rest[:cut]
        rest = "  " + rest[cut + 1 :]
        if cut <= 2:  # noqa: PLR2004 - the indent: one word is longer than the line
            break
    yield rest


# --- widths -----------------------------------------------------------------------------------


def shortened(text: str, room: int | None) -> str:
    """The text in at most that many columns: the middle is left out."""
    if room is None or _cells(text) <= room:
        return text
    room = max(room, 1)
    head = _fitting(text, (room - 1) // 2)
    tail = _fitting(text[::-1], room - 1 - _cells(head))[::-1]
    return f"{head}…{tail}"


def _fitting(text: str, room: int) -> str:
    """The beginning of the text that has room."""
    taken = 0
    for at, letter in enumerate(text):
        taken += _width(letter)
        if taken > room:
            return text[:at]
    return text


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
