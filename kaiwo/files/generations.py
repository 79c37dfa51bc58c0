"""Generations of a folder: a link leads to the newest, and its rename makes the next one that.

    <parent>/NAME -> .kaiwo-NAME.generations/0007         what readers see
    <parent>/.kaiwo-NAME.generations/0006/  .../0007/     files; no complete one is ever changed
    <parent>/.kaiwo-NAME.next -> .kaiwo-NAME.generations/0008

``next`` is there while a generation is being filled, by one run or by several of which the first
were killed. Files get there through it, so their paths are the same for all of these runs. When
all are there, ``next`` is renamed to ``NAME``. So at any moment, a generation is either that of
``next`` or complete, and its number is not given to another one. Who calls this has claimed NAME.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import posixpath
import re
import shutil
import stat
from collections.abc import Iterator

from kaiwo import own_names
from kaiwo.errors import DiskError
from kaiwo.files import second_names
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, in_folder, open_folder
from kaiwo.files.kept_folders import kept
from kaiwo.files.paths import is_within
from kaiwo.files.placement import next_path
from kaiwo.files.publish import sync_folder
from kaiwo.files.renames import rename
from kaiwo.files.temporary_files import discard

_NUMBER = re.compile("[0-9]+")
logger = logging.getLogger(__name__)


def folder_of(target: str) -> str:
    """The path of the folder that holds the generations of a target."""
    above, name = posixpath.split(target)
    return posixpath.join(above, own_names.generations_name(name))


def number_of(target: str, link: str | None = None) -> int | None:
    """The number of the generation that a link leads to; None if there is no such link.

    Args:
        target: of the generations.
        link: the path of the link; None: the target itself.
    """
    try:
        above, name = posixpath.split(os.readlink(link or target))
    except OSError:
        return None
    if above != posixpath.basename(folder_of(target)) or not _NUMBER.fullmatch(name):
        return None
    return int(name)


def fault_of(target: str) -> str | None:
    """Why no generation can become the target; None if one can."""
    if os.path.islink(folder := folder_of(target)):
        return f"a link is at {folder}, where publish: snapshot has a folder; move it away"
    for path in (target, next_path(target)):
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            continue  # for all but a missing file, the attempt to write gives the better message
        if number_of(target, path) is not None:
            continue
        kind = (
            "folder" if stat.S_ISDIR(mode) else "link elsewhere" if stat.S_ISLNK(mode) else "file"
        )
        return f"a {kind} is at {path}, where publish: snapshot puts a link; move it away"
    return None


def path_of(target: str, number: int) -> str:
    """The path of a generation."""
    return f"{folder_of(target)}/{number:04}"


def begin(target: str, root: Root) -> None:
    """Let there be a next generation; one that an earlier run has begun is continued.

    Raises:
        DiskError: the file system refused, or has no symbolic links.
    """
    kept.clear()  # what was opened by way of the link before may be complete by now
    path, current = next_path(target), number_of(target) or 0
    if (number := number_of(target, path)) is not None:
        if number > current:
            return
        discard(path, root)  # somebody has made it
    number = max([current, *_numbers(target)]) + 1
    destination = posixpath.relpath(path_of(target, number), posixpath.dirname(target))
    try:
        open_folder(posixpath.dirname(path), root, make=True)
        if second_names.symlink(destination, path, root):
            return
    except OSError as error:
        raise disk_error(error, path) from error
    raise DiskError(
        f"{target}: this file system has no symbolic links, which publish: snapshot needs; use "
        "publish: files there"
    )


def require_next(target: str, root: Root) -> Root:
    """The next generation's folder, which is there, as a root: no link leads out of it.

    Raises:
        DiskError: it cannot be made.
    """
    path = next_path(target)
    number = number_of(target, path)
    if number is None or number <= (number_of(target) or 0):
        raise DiskError(f"{path} leads elsewhere: something else than kaiwo changes {target}")
    folder = path_of(target, number)
    try:
        confined = _confined(folder, target, root)
        open_folder(folder, confined, make=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    return confined


def switch(target: str, root: Root, *, durable: bool) -> None:
    """Make the next generation the target.

    Args:
        target: of the generations.
        root: see ``folders.py``.
        durable: the files, their folders and the link must be on the disk itself afterwards.

    Raises:
        DiskError: the file system refused; the target is as it was.
    """
    path = next_path(target)
    if fault := fault_of(target):
        raise DiskError(fault)
    folder = require_next(target, root).path
    try:
        if durable:
            for each, _, _ in os.walk(folder):
                sync_folder(each)
            sync_folder(posixpath.dirname(folder))
        rename(path, target, root)
        kept.clear()
        if durable:
            sync_folder(posixpath.dirname(target))
    except OSError as error:
        raise disk_error(error, target) from error


def abandon(target: str, root: Root) -> None:
    """Remove the next generation.

    Raises:
        OSError: the file system refused.
    """
    path = next_path(target)
    if (number := number_of(target, path)) is None:
        return
    if number != number_of(target):
        with contextlib.suppress(FileNotFoundError):
            _remove(target, number, root)
    discard(path, root)
    with contextlib.suppress(OSError):  # it holds other generations
        in_folder(folder_of(target), root, lambda above, name: os.rmdir(name, dir_fd=above))


def remove_old(target: str, root: Root, keep: int, before: int | None = None) -> None:
    """Remove all but that number of generations; one that cannot be removed stays.

    Args:
        target: of the generations.
        root: see ``folders.py``.
        keep: that number of them stays.
        before: the number of the one that was the target until now. It goes last: it is read, also
            if it is not the newest one since somebody has gone back to it.
    """
    current = number_of(target)
    old = [each for each in _numbers(target) if current is not None and each < current]
    old.sort(key=lambda each: (each == before, each))
    for number in old[: max(len(old) + 1 - keep, 0)]:
        path = path_of(target, number)
        try:
            _remove(target, number, root)
        except OSError as error:
            logger.warning("an old generation stays: %s", disk_error(error, path).message)


def is_older(target: str) -> bool:
    """Whether somebody has gone back to an older generation than the newest complete one."""
    current, begun = number_of(target), number_of(target, next_path(target))
    return current is not None and any(current < each != begun for each in _numbers(target))


def unswitched(folder: str) -> Iterator[str]:
    """The targets in a folder that have a next generation."""
    with contextlib.suppress(OSError):
        for name in filter(None, map(own_names.name_of_next, sorted(os.listdir(folder)))):
            if has_next(target := posixpath.join(folder, name)):
                yield target


def has_next(target: str) -> bool:
    """Whether a next generation was begun."""
    return number_of(target, next_path(target)) is not None


def size_of_next(target: str) -> int:
    """The bytes that nothing but the next generation takes."""
    taken = 0
    for above, _, names in os.walk(next_path(target)):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(posixpath.join(above, name))
                taken += status.st_blocks * 512 if status.st_nlink == 1 else 0
    return taken


def _numbers(target: str) -> Iterator[int]:
    """The numbers of the generations that are there."""
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir(folder_of(target)) if _NUMBER.fullmatch(name))


def _remove(target: str, number: int, root: Root) -> None:
    in_folder(
        path_of(target, number),
        _confined(folder_of(target), target, root),
        lambda above, name: shutil.rmtree(name, dir_fd=above),
    )


def _confined(folder: str, target: str, root: Root) -> Root:
    """A folder of generations as a root: nothing is removed by way of a link at it or in it."""
    above = posixpath.dirname(target)
    real = os.path.realpath(above)
    if root.real and not is_within(real, root.real):
        raise OSError(errno.ELOOP, f"{above} leads out of {root.path}")
    return Root(folder, real.rstrip("/") + folder[len(above.rstrip("/")) :] if root.real else "")
