"""Which names are too long for a file system: some take 143 bytes (eCryptfs), most take 255.

Only the file system itself can tell: it is asked for a file of that name in the nearest folder that
exists, once for each length. Where the folder of the target exists, ``existing.py`` asks anyway.
"""

from __future__ import annotations

import errno
import os

#: Every file system takes names up to this number of bytes.
SHORT_NAME = 120


class LongNames:
    """What file systems said about lengths of names; each is asked once."""

    def __init__(self) -> None:
        self._nearest: dict[str, str] = {}
        self._takes: dict[tuple[str, int], bool] = {}

    def too_long(self, path: str) -> str | None:
        """The part of a path that is too long for its file system, if one is.

        Args:
            path: absolute; no part has more than 255 bytes.
        """
        letters = SHORT_NAME if path.isascii() else SHORT_NAME // 4
        names = path.split("/")
        if len(path) <= letters or max(map(len, names)) <= letters:
            return None
        end = -1
        for name in names:
            folder, end = path[: max(end, 0)], end + 1 + len(name)
            if len(name) > letters and not self._is_taken(folder or "/", name):
                return name
        return None

    def _is_taken(self, folder: str, name: str) -> bool:
        length = len(os.fsencode(name))
        if length <= SHORT_NAME:
            return True
        if folder not in self._nearest:
            self._nearest[folder] = _nearest_to(folder)
        key = self._nearest[folder], length
        if key not in self._takes:
            self._takes[key] = _takes(*key)
        return self._takes[key]


def _nearest_to(folder: str) -> str:
    """The folder, or the nearest one above it that exists."""
    while folder != "/" and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _takes(folder: str, length: int) -> bool:
    try:
        os.lstat(os.path.join(folder, "n" * length))
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True
