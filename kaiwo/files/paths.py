"""Paths: which one contains another, where links lead, and what is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter

from kaiwo.files.repeat import repeat


def is_within(path: str, folder: str) -> bool:
    """Whether an absolute, normalised path is the folder or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def real_path(path: str, folders: dict[str, str]) -> str:
    """The path with all links in its folder resolved, but not a link at its end.

    Args:
        path: absolute.
        folders: a cache of folders, filled by this function; most targets share their folder.
    """
    if not path.isascii():
        # Bytes that are no UTF-8 have two spellings in Python, and one on the disk.
        path = os.fsdecode(os.fsencode(path))
    cut = path.rfind("/")
    folder = path[:cut] or "/"
    if folder not in folders:
        real = os.path.realpath(folder)
        folders[folder] = "" if real == "/" else real
    return folders[folder] + path[cut:]


def collisions(paths: Iterable[str], name_of: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Pairs of files that cannot both exist: one name for two, or a file where a folder is needed.

    Each pair is a file's path, and another path that has its name or lies below its name. If
    several files exclude a path, the pair has the nearest one, and the first of equal names.

    Args:
        paths: absolute, of files, all different.
        name_of: the name that a file system takes a path for; it keeps every ``/`` in its place.
    """
    # What lies below a file comes right after it.
    named_paths = [(name_of(path).replace("/", "\0"), path) for path in paths]
    above: list[tuple[str, str]] = []
    for name, path in sorted(named_paths, key=itemgetter(0)):
        while above and name != above[-1][0] and not name.startswith(f"{above[-1][0]}\0"):
            above.pop()
        if above:
            yield above[-1][1], path
        if not above or name != above[-1][0]:
            above.append((name, path))


def regular_file(path: str) -> os.stat_result | None:
    """The status of the regular file at that path (links are followed); None if there is none."""
    try:
        status = repeat(lambda: os.stat(path))
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
