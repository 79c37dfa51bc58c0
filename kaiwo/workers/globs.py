"""Globs: which keys of a folder are selected.

A glob is matched against the key relative to the folder, by fsspec's own translation. ``fs.glob``
itself reads magic in the prefix, returns directories, and differs from backend to backend.

fsspec's globs have no braces: ``{01,02}.csv`` selects the file of exactly that name. Who writes one
usually means something else, and so does a ``*`` in the name of a file; ``not_meant`` says so.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

from kaiwo.objects import Folder

_BRACES = re.compile(r"\{[^{}]*,[^{}]*\}")
EVERYTHING = ("**/*", "**")


def matcher(selection: Folder) -> Callable[[str], bool]:
    """Whether a key, relative to the folder, is selected."""
    compile_ = glob_pattern if selection.syntax == "path" else name_pattern
    everything = selection.syntax == "path" and any(g in EVERYTHING for g in selection.globs)
    wanted = [] if everything else [compile_(glob) for glob in selection.globs]
    unwanted = [compile_(glob) for glob in selection.exclude]

    def matches(relative: str) -> bool:
        if wanted and not any(pattern.match(relative) for pattern in wanted):
            return False
        return not any(pattern.match(relative) for pattern in unwanted)

    return matches


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Follow fsspec's documented rules: ``*`` stays in a segment, ``**`` is whole segments.

    Raises:
        ValueError: ``**`` is only a part of a segment.
    """
    # Imported here: a run without a glob does not load fsspec.
    from fsspec.utils import glob_translate  # noqa: PLC0415

    return re.compile(glob_translate(glob))


def glob_start(name: str) -> int | None:
    """Where ``*``, ``?`` or ``[`` first makes a name a glob; None if nothing does."""
    found = re.search(r"[*?\[]", name)
    return found.start() if found else None


def not_meant(name: str, *, is_glob: bool) -> tuple[str, str] | None:
    """What in a name or glob is probably meant to select several files, and does not.

    Args:
        name: as it was written; nothing of it but a sign is repeated.
        is_glob: whether it is a glob, or the name of one file or folder.

    Returns:
        What is wrong, and what to do; None if nothing is.
    """
    start = None if is_glob else glob_start(name)
    if start is not None:
        return f"{name[start]!r} is a part of the name here, and no glob", "write it in 'glob'"
    if _BRACES.search(name):
        return "globs have no braces: '{' is a part of the name", "write each name by itself"
    return None


def name_pattern(glob: str) -> re.Pattern[str]:
    """Follow the Hub's rules: ``*`` matches ``/`` too, and ``folder/`` means all below it."""
    return re.compile(fnmatch.translate(glob + "*" if glob.endswith("/") else glob))
