"""Which names no file may get.

One check for all providers: a key is split at every ``/``, and each segment must be an ordinary
file name. So a key can never lead out of the folder that the user named. A link inside that
folder can: ``planning/conflicts.py`` asks the disk about links.
"""

from __future__ import annotations

import os
import posixpath
import re

from kaiwo import own_names

#: Bytes in one name: the limit of ext4, xfs, btrfs, tmpfs and NFS alike.
LONGEST_NAME = 255
#: Bytes in a whole path that Linux takes in one call.
LONGEST_PATH = 4095
#: Characters that control a terminal or end a line of a log, in ASCII and beyond.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Most names match this, and need no further check.
PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}/)*[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}")


def fault_of(name: str) -> str | None:
    """Why this relative name is not allowed as a path below a target; None if it is allowed.

    Empty segments in the middle (``a//b``) count as one ``/``, as the file system takes them.
    """
    if not name:
        return "it names no file"
    if name.startswith("/"):
        return "it is absolute"
    segments = name.split("/")
    return next((fault for segment in segments if (fault := _fault_of_segment(segment))), None)


def _fault_of_segment(segment: str) -> str | None:
    if segment in (".", ".."):
        return f"{segment!r} is not a file name"
    if segment == own_names.STATE_FOLDER:
        return f"{own_names.STATE_FOLDER} is kaiwo's own folder"
    if own_names.is_own(segment):
        kind = "temporary files" if own_names.is_temporary(segment) else "generations of snapshots"
        return f"kaiwo names its own {kind} like that"
    if _CONTROL.search(segment):
        return "it has a control character"
    try:
        length = len(os.fsencode(segment))
    except UnicodeEncodeError:
        return "it cannot be encoded as a file name"
    return f"a segment is longer than {LONGEST_NAME} bytes" if length > LONGEST_NAME else None


def fault_of_place(path: str, root: str) -> str | None:
    """Why this path, which a placement has chosen, is not allowed; None if it is allowed.

    Args:
        path: absolute, of the target or of the blob behind it.
        root: absolute, normalised; the path must be below it.
    """
    top = root.rstrip("/") + "/"
    if not path.startswith(top):
        return f"it is not below {root}"
    if fault := fault_of(path[len(top) :]):
        return fault
    if not _is_short(path):
        folder = len(os.fsencode(posixpath.dirname(path)))
        longest = max(folder + 1 + own_names.LONGEST_TEMPORARY, len(os.fsencode(path)))
        if longest > LONGEST_PATH:
            return f"the path is longer than {LONGEST_PATH} bytes"
    return None


def is_plain(path: str, root: str) -> bool:
    """Whether the path is one of the many that need no further check: no fault, no odd letter.

    Args:
        path: see ``fault_of_place``.
        root: the same.
    """
    top = root.rstrip("/") + "/"
    below = path.startswith(top) and PLAIN.fullmatch(path, len(top)) is not None
    return below and _is_short(path)


def _is_short(path: str) -> bool:
    """Whether the path is short enough even if each letter takes four bytes."""
    return len(path) * 4 <= LONGEST_PATH - own_names.LONGEST_TEMPORARY
