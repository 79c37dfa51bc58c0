"""Which folders are one: a volume may be mounted at several places.

Two mounts of one claim in a pod, or a bind mount: ``/a/x`` and ``/b/x`` are one file then, though
no link leads there. ``/proc/self/mountinfo`` says which folder of which device is mounted where.
Other systems than Linux have no such file, and nothing is found there.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable

#: How the kernel writes what would end a field or a line.
_ESCAPED = re.compile(r"\\([0-7]{3})")


def twins(folders: Iterable[str], table: str = "/proc/self/mountinfo") -> dict[str, str]:
    """Folders that are another one of these; with the first path of each.

    Args:
        folders: absolute real paths; not all need exist.
        table: of the mounts.
    """
    mounts = _read(table)
    first: dict[tuple[str, str], str] = {}
    found: dict[str, str] = {}
    for folder in folders:
        before = first.setdefault(_place_of(folder, mounts), folder)
        # A mount may lie hidden below another one, so that the table alone proves nothing.
        if before != folder and _are_one(before, folder):
            found[folder] = before
    return found


def _read(table: str) -> dict[str, tuple[str, str]]:
    """By the place of each mount: the device, and the folder of that device."""
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            fields = [line.split(" ") for line in file]
    except OSError:
        return {}
    found = {}
    for each in fields:
        match each:
            case [_, _, device, top, place, *_]:
                found[_plain(place)] = device, _plain(top)
    return found


def _plain(field: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)


def _place_of(folder: str, mounts: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """The device of a folder, and its path there."""
    at = folder or "/"
    while at not in mounts and at != "/":
        at = at[: at.rfind("/")] or "/"
    device, top = mounts.get(at, ("", "/"))
    return device, posixpath.normpath(f"/{top}/{folder[len(at.rstrip('/')) :]}").replace("//", "/")


def _are_one(one: str, other: str) -> bool:
    """Whether two paths lead to one folder, or will when it is made."""
    while True:
        try:
            return os.path.samestat(os.stat(one), os.stat(other))
        except FileNotFoundError:
            if os.path.basename(one) != os.path.basename(other):
                return False
            one, other = os.path.dirname(one), os.path.dirname(other)
        except OSError:
            return False
