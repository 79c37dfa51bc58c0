"""What a store has, what a configuration wants of it, and how a run has to end.

Nothing here asks kaiwo: targets, globs and conflicts are worked out by other means.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from tests.support.snapshots import File, Folder, Link, Snapshot

#: The target roots; items give the second one by its absolute path.
ROOTS = ("out", "other")
#: Above 8 MiB an object comes in ranges, below 1 MiB in a batch with others.
LARGE, MEDIUM = (8 << 20) + 4321, 1_600_000
#: The objects that a bucket begins with, and their sizes.
SIZES = {
    "a.txt": 9,
    "b.bin": 5_000,
    "medium.bin": MEDIUM,
    "empty.txt": 0,
    "deep/c.bin": 70_000,
    "deep/er/large.bin": LARGE,
    "deep/er/d \u00e9%41+.txt": 12,
    "deeper.txt": 30,
}
KEYS = tuple(SIZES)
#: A key that leads out of the target root; no bucket begins with it.
HOSTILE = "deep/../../../escaped.bin"


@dataclass(frozen=True)
class Version:
    """What an object holds, and the etag that the store states for it."""

    data: bytes
    etag: str


#: Key -> what the object holds.
Objects = Mapping[str, Version]
#: Where an object goes, relative to the tree; None: it is not wanted.
Placing = Callable[[str], str | None]


@dataclass(frozen=True)
class Item:
    """An item of a configuration.

    Attributes:
        fields: as the file has them, but for ``target_path``, which is relative to the tree.
        place: what it wants, and where that goes.
    """

    fields: Mapping[str, Any]
    place: Placing


def content(number: int, size: int) -> bytes:
    """Bytes that another number does not have, unless there are too few of them."""
    return random.Random(number).randbytes(size)


def _folder(folder: str, target: str, matches: Callable[[str], bool] = bool) -> Placing:
    """The objects below a folder keep their names below the target."""

    def place(key: str) -> str | None:
        name = key.removeprefix(folder)
        return f"{target}/{name}" if key.startswith(folder) and matches(name) else None

    return place


def _file(wanted_key: str, target: str) -> Placing:
    """One object goes to one target."""
    return lambda key: target if key == wanted_key else None


ITEMS = {
    "all": Item({"folder": "", "target_path": "out/all"}, _folder("", "out/all")),
    "deep": Item({"folder": "deep", "target_path": "out/deep"}, _folder("deep/", "out/deep")),
    "bins": Item(
        {"folder": "deep/", "glob": "**/*.bin", "target_path": "out/some"},
        _folder("deep/", "out/some", lambda name: name.endswith(".bin")),
    ),
    "top": Item(
        {"folder": ".", "glob": "*", "target_path": "out/some/top"},
        _folder("", "out/some/top", lambda name: "/" not in name),
    ),
    "elsewhere": Item({"folder": "deep", "target_path": "other"}, _folder("deep/", "other")),
    "one": Item({"file": "a.txt", "target_path": "out/one/"}, _file("a.txt", "out/one/a.txt")),
    "same": Item(
        {"file": "deep/er/large.bin", "target_path": "out/all/deep/er/large.bin"},
        _file("deep/er/large.bin", "out/all/deep/er/large.bin"),
    ),
    "clash": Item(
        {"file": "b.bin", "target_path": "out/all/a.txt"}, _file("b.bin", "out/all/a.txt")
    ),
    "in the way": Item({"file": "a.txt", "target_path": "out/deep"}, _file("a.txt", "out/deep")),
}
#: These conflict with some of the others.
CONFLICTING = ("clash", "in the way")


@dataclass(frozen=True)
class Config:
    """What a run is asked to do.

    Attributes:
        items: names of items.
        force: fetch what is in place, too.
        verify: by what a file is verified.
        workers: how many.
        engine: which.
    """

    items: tuple[str, ...] = ("all",)
    force: bool = False
    verify: Literal["checksum", "size"] = "checksum"
    workers: int = 2
    engine: Literal["fsspec", "obstore"] = "obstore"

    @property
    def wish(self) -> tuple[object, ...]:
        """What decides whether a file is as it should be; the rest is a matter of how."""
        return self.items, self.verify


@dataclass(frozen=True)
class Wanted:
    """What a configuration wants of a store.

    Attributes:
        keys: target -> key.
        missing: how many items match nothing.
        named: keys that are asked for by name.
        refused: a hostile name, two objects for one target, or a file where another needs a folder.
    """

    keys: Mapping[str, str]
    missing: int
    named: frozenset[str]
    refused: bool


def wanted(config: Config, objects: Objects) -> Wanted:
    """What this configuration wants of these objects."""
    keys: dict[str, str] = {}
    missing, refused = 0, False
    for item in (ITEMS[name] for name in config.items):
        own = {place: key for key in objects if (place := item.place(key)) is not None}
        missing += not own
        refused |= any(keys.get(place, key) != key for place, key in own.items())
        keys |= own
    refused |= any(".." in place.split("/") for place in keys)
    refused |= any(folder in keys for place in keys for folder in folders(place))
    named = (ITEMS[name].fields.get("file") for name in config.items)
    return Wanted(keys, missing, frozenset(key for key in named if key), refused)


def exit_code(want: Wanted, disk: Snapshot) -> int:
    """How a run has to end that finds this on the disk, and that nobody disturbs."""
    blocked = any(
        isinstance(disk.get(place), Folder)
        or any(isinstance(disk.get(folder), File | Link) for folder in folders(place))
        for place in want.keys
    )
    if want.refused or blocked:
        return 2
    return 4 if want.missing else 0


def is_right(place: str, want: Wanted, objects: Objects, disk: Snapshot) -> bool:
    """Whether the disk has at that target what the store has."""
    found = disk.get(place)
    return isinstance(found, File) and found.data == objects[want.keys[place]].data


def folders(place: str) -> Iterator[str]:
    """The folders that a target needs, its root too."""
    return (str(folder) for folder in PurePosixPath(place).parents if folder.name)
