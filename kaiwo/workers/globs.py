"""Globs: which keys of a folder are selected.

A glob is matched against the key relative to the folder, by fsspec's own translation. ``fs.glob``
itself reads magic in the prefix, returns directories, and differs from backend to backend.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

from kaiwo.objects import Folder

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


def name_pattern(glob: str) -> re.Pattern[str]:
    """Follow the Hub's rules: ``*`` matches ``/`` too, and ``folder/`` means all below it."""
    return re.compile(fnmatch.translate(glob + "*" if glob.endswith("/") else glob))
