"""A rename whose answer may be lost.

A network file system sends a request again when no answer comes. The server has renamed the file by
then, and answers that there is none: ENOENT. So after a failure it is looked whether it happened.
"""

from __future__ import annotations

import errno
import os

from kaiwo.files.folders import Root, in_folder
from kaiwo.files.repeat import PASSING, repeat

_PERHAPS_DONE = PASSING | {errno.ENOENT}


def rename(
    source: str, target: str, root: Root | None = None, before: os.stat_result | None = None
) -> None:
    """Rename a file, and replace what is at the target.

    Args:
        source: path of the file.
        target: its new path.
        root: of both paths, see ``folders.py``.
        before: the status of the file, if that is known.

    Raises:
        OSError: the file system refused.
    """
    was = _status(source, root) if before is None else before
    stays = source[: source.rfind("/")] == target[: target.rfind("/")]

    def action(folder: int | None, name: str) -> None:
        if folder is None:
            os.replace(name, target)
        elif stays:
            new_name = target[target.rfind("/") + 1 :]
            os.replace(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            _move(folder, name, target, root)

    def attempt() -> None:
        try:
            in_folder(source, root, action)
        except OSError as error:
            if error.errno not in _PERHAPS_DONE or not _is_done(source, target, root, was):
                raise

    repeat(attempt)


def _move(folder: int, name: str, target: str, root: Root | None) -> None:
    """Rename from one folder into another one."""

    def replace(target_folder: int | None, target_name: str) -> None:
        os.replace(name, target_name, src_dir_fd=folder, dst_dir_fd=target_folder)

    in_folder(target, root, replace)


def _status(path: str, root: Root | None) -> os.stat_result:
    def look(folder: int | None, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)

    return in_folder(path, root, look)


def _is_done(source: str, target: str, root: Root | None, before: os.stat_result) -> bool:
    """Whether the file that was at the source is at the target now."""
    try:
        _status(source, root)
    except FileNotFoundError:
        pass
    else:
        return False
    try:
        return same_file(_status(target, root), before)
    except OSError:
        return False


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both may be of one file; some mounts number their files anew each time."""
    if os.path.samestat(one, other):
        return True
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
