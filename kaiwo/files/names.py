"""Where an object goes, and which names may not go anywhere.

One containment check for all providers: a key is cut into segments, and every segment has to be
an ordinary file name. What a bucket says can then never lead out of the folder that the user
named; what the disk says (a link inside that folder that leads out) is asked in ``escapes``.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter

from msgspec import Struct

from kaiwo.errors import ConfigError, UnsafeNameError
from kaiwo.objects import Place, RemoteObject

#: Holds kaiwo's memory; a key may not claim it.
STATE_FOLDER = ".kaiwo"
#: Bytes in one name: the limit of ext4, xfs, btrfs, tmpfs and NFS alike.
LONGEST_NAME = 255
#: Bytes in a whole path that Linux takes in one call.
LONGEST_PATH = 4095
#: So many bytes a temporary name beside a target may need.
_TEMPORARY = 64
#: What steers a terminal or ends a line of a log, in ASCII and beyond.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Most names: nothing in them needs a second look.
_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}/)*[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}")


def fault_of(name: str) -> str | None:
    """Why this relative name may not be a path below a target, or None when it may.

    Empty segments in the middle (``a//b``) are what the file system takes them for: one ``/``.
    """
    if not name:
        return "it names no file"
    if name.startswith("/"):
        return "it is absolute"
    segments = name.split("/")
    return next((fault for segment in segments if (fault := _fault_of_segment(segment))), None)


def _fault_of_segment(segment: str) -> str | None:
    if segment in (".", ".."):
        return f"{segment!r} is no file name"
    if segment == STATE_FOLDER:
        return f"{STATE_FOLDER} is kaiwo's own folder"
    if is_own(segment):
        return "kaiwo names its own temporary files like that"
    if _CONTROL.search(segment):
        return "it holds a control character"
    try:
        length = len(os.fsencode(segment))
    except UnicodeEncodeError:
        return "it cannot be encoded as a file name"
    return f"a segment is longer than {LONGEST_NAME} bytes" if length > LONGEST_NAME else None


def is_own(segment: str) -> bool:
    """Whether that name is one that kaiwo uses for itself."""
    temporary = segment.startswith(".kaiwo-") and segment.endswith((".part", ".link"))
    return temporary or segment == STATE_FOLDER


def fault_of_place(path: str, root: str) -> str | None:
    """Why this path, which a placement has decided, may not be used, or None when it may.

    Args:
        path: absolute, of the target or of the blob behind it.
        root: absolute, normalised; the path has to be below it.
    """
    top = root.rstrip("/") + "/"
    if not path.startswith(top):
        return f"it is not below {root}"
    if fault := fault_of(path[len(top) :]):
        return fault
    if not _is_short(path):
        folder = len(os.fsencode(posixpath.dirname(path)))
        if max(folder + 1 + _TEMPORARY, len(os.fsencode(path))) > LONGEST_PATH:
            return f"the path is longer than {LONGEST_PATH} bytes"
    return None


def is_plain(path: str, root: str) -> bool:
    """Whether it is one of the many paths that need no second look: no fault, no odd letter.

    Args:
        path: see ``fault_of_place``.
        root: the same.
    """
    top = root.rstrip("/") + "/"
    below = path.startswith(top) and _PLAIN.fullmatch(path, len(top)) is not None
    return below and _is_short(path)


def _is_short(path: str) -> bool:
    """No letter has more than four bytes."""
    return len(path) * 4 <= LONGEST_PATH - _TEMPORARY


class Under(Struct, frozen=True):
    """Objects of a folder keep their names, relative to its prefix, below ``folder``.

    Attributes:
        folder: absolute path.
        root: see ``Transfer.root``.
        prefix: what is cut from the front of each key.
    """

    folder: str
    root: str
    prefix: str = ""

    def place(self, remote: RemoteObject) -> Place:
        """Below the folder; raises UnsafeNameError for a key that may not be there."""
        relative = remote.key.removeprefix(self.prefix)
        if _PLAIN.fullmatch(relative):
            return Place(f"{self.folder.rstrip('/')}/{relative}", self.root)
        if fault := fault_of(relative):
            raise UnsafeNameError(f"key {remote.key!r}: {fault}")
        target = posixpath.normpath(posixpath.join(self.folder, relative))
        return Place(target, self.root)


class At(Struct, frozen=True):
    """One object, at exactly that path.

    Attributes:
        path: absolute path of the file.
        root: see ``Transfer.root``.
    """

    path: str
    root: str

    def place(self, remote: RemoteObject) -> Place:  # noqa: ARG002 - the user named the path
        """There."""
        return Place(self.path, self.root)


def expanded(path: str) -> str:
    """The path with a leading ``~`` replaced by the home folder.

    Raises:
        ConfigError: there is no home folder, as for a user without an entry in passwd.
    """
    found = os.path.expanduser(path)
    if found.startswith("~"):
        raise ConfigError(f"{path}: no home folder is known here; set HOME, or give a whole path")
    return found


def resolve(target_path: str, download_root: str, *, is_file: bool) -> tuple[str, str]:
    """The absolute target and its root.

    Relative targets are below the download root, and it is their root. An absolute target is
    its own root (a file: its folder), unless it lies below the download root anyway.

    Args:
        target_path: as in the file, without ``..``.
        download_root: absolute path.
        is_file: the target is a file, not a folder.
    """
    target = posixpath.normpath(posixpath.join(download_root, expanded(target_path)))
    # POSIX keeps a leading double slash apart; no system kaiwo runs on does.
    target = "/" + target.lstrip("/")
    if is_within(target, download_root):
        return target, download_root
    return target, posixpath.dirname(target) if is_file else target


def is_within(path: str, folder: str) -> bool:
    """Whether that absolute, normalised path is the folder or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def real_path(path: str, folders: dict[str, str]) -> str:
    """The path with all links in its folder followed, but not the one at its end.

    Args:
        path: absolute.
        folders: answers for folders, filled by this function; most targets share theirs.
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


def in_the_way(paths: Iterable[str], named: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Pairs of a file's path and another that has its name, or lies below its name.

    Of several files in the way of one, the nearest is told, and the first of those with one name.

    Args:
        paths: absolute, of files, all different.
        named: the name that a path goes by; it leaves every ``/`` where it is.
    """
    # What lies below a file comes right after it.
    named_paths = [(named(path).replace("/", "\0"), path) for path in paths]
    above: list[tuple[str, str]] = []
    for name, path in sorted(named_paths, key=itemgetter(0)):
        while above and name != above[-1][0] and not name.startswith(f"{above[-1][0]}\0"):
            above.pop()
        if above:
            yield above[-1][1], path
        if not above or name != above[-1][0]:
            above.append((name, path))
