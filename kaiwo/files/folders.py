"""Folders below a root, opened one by one, so that no link leads out of the root.

A path that is opened as a whole follows every link in it. Who may write in one of its folders can
replace the next one by a link at any moment, also long after the plan was checked. So each folder
is opened by its name in the folder before it, and files are opened, renamed and removed by their
names in an open folder:

    above the root   its links were resolved when the plan was made; none is followed afterwards
    below the root   a link is followed while it leads to a folder of the same root, else refused

Where a function takes no root, the path is the caller's own and is opened as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from kaiwo.files.kept_folders import Folder, kept
from kaiwo.files.paths import is_within
from kaiwo.jobs import Transfer
from kaiwo.own_names import name_of_next

ResultT = TypeVar("ResultT")
#: Opens a folder to look up names in it, which needs no right to list them; macOS lacks that.
_BY_NAME: int | None = getattr(os, "O_PATH", None)
_FLAGS = (_BY_NAME or os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: macOS: no link is followed in any part of the path.
_NO_LINKS: int = getattr(os, "O_NOFOLLOW_ANY", os.O_NOFOLLOW)
#: How a system says that the last part of a path is a link, or no folder.
_NO_FOLDER = {errno.ELOOP, errno.EMLINK, errno.ENOTDIR}
#: As in the kernel: more links than that lead in a circle.
_MOST_LINKS = 40
#: A name is taken again right after it was removed; so often at most.
_MOST_RACES = 3


class Root(Struct, frozen=True):
    """A folder that nothing may lead out of.

    Attributes:
        path: absolute; what lies below it has paths that begin with it.
        real: the same folder, without links. Empty: there is a link that only the system can follow
            (``/proc/<pid>/root``), so the root is opened as a whole.
    """

    path: str
    real: str


def resolved(path: str) -> Root:
    """The root at that path, with its links as they are now."""
    real = os.path.realpath(path)
    if real != path:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            if not os.path.samestat(os.stat(path), os.stat(real)):
                return Root(path, "")
    return Root(path, real)


def root_of(transfer: Transfer) -> Root:
    """The root of a transfer, with its links as they were when the plan was made."""
    real = transfer.real_root
    return Root(transfer.root, real) if real else resolved(transfer.root)


def open_folder(path: str, root: Root, *, make: bool = False) -> Folder:
    """Open a folder.

    Args:
        path: absolute; the root or below it.
        root: see the module.
        make: it is made if it is missing, and those above it.

    Raises:
        OSError: it cannot be opened or made; or a link on the way to it leads out of the root.
    """
    key = root.real or root.path, path
    if (folder := kept.find(key)) is not None:
        return folder
    try:
        folder = _walk(path, root, make=make)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE) or not kept.folders:
            raise
        kept.clear()
        folder = _walk(path, root, make=make)
    kept.add(key, folder)
    return folder


def in_folder(
    path: str,
    root: Root | None,
    action: Callable[[int | None, str], ResultT],
    *,
    make: bool = False,
) -> ResultT:
    """Do something with a file: what the action returns.

    Args:
        path: of the file, below the root.
        root: see the module.
        action: gets the descriptor of the file's folder and its name there; without a root, None
            and the path. It may be called twice if there is no such file, the second time in a
            folder that was opened again.
        make: the folder is made if it is missing.

    Raises:
        OSError: of the action, or see ``open_folder``.
    """
    if root is None:
        try:
            return action(None, path)
        except FileNotFoundError:
            if not make:
                raise
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return action(None, path)
    cut = path.rfind("/")
    above, name = path[:cut] or "/", path[cut + 1 :]
    folder = kept.find((root.real or root.path, above))
    was_kept = folder is not None
    if folder is None:
        folder = open_folder(above, root, make=make)
    try:
        return action(folder.descriptor, name)
    except FileNotFoundError:
        if not was_kept or _is_at(folder, above):
            raise
    kept.clear()
    return action(open_folder(above, root, make=make).descriptor, name)


def open_new(path: str, root: Root | None, mode: int, *, make: bool = False) -> int:
    """Open a new file for writing; one that an earlier attempt has left is removed.

    Args:
        path: of the file.
        root: see the module.
        mode: of the file, less the umask.
        make: its folder is made if it is missing.

    Raises:
        OSError: the file system refused, or something that is no file has this name.
    """

    def attempt(folder: int | None, name: str) -> int:
        return os.open(name, _NEW, mode, dir_fd=folder)

    for _ in range(_MOST_RACES):
        try:
            return in_folder(path, root, attempt, make=make)
        except FileExistsError:
            if not in_folder(path, root, _remove_file):
                raise
    return in_folder(path, root, attempt, make=make)


def _remove_file(folder: int | None, name: str) -> bool:
    """Remove a file; False if that is something else."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return False
        os.unlink(name, dir_fd=folder)
    return True


def _is_at(folder: Folder, path: str) -> bool:
    """Whether the open folder is the one at that path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(folder.descriptor))
    except OSError:
        return False


def _walk(path: str, root: Root, *, make: bool) -> Folder:
    """Open a folder, from its root on."""
    if not is_within(path, root.path):
        raise OSError(errno.ELOOP, f"{path} is not below {root.path}")
    here, real = _open_root(root, make=make), root.real
    todo = _names(path[len(root.path) :])
    links = 0
    while todo:
        name = todo.pop()
        following = _next(here.descriptor, name, make=make)
        if following is not None:
            here, real = Folder(following), f"{real.rstrip('/')}/{name}"
            continue
        links += 1
        destination = os.path.realpath(f"{real.rstrip('/')}/{name}")
        leads_out = not (root.real and is_within(destination, root.real))
        if links > _MOST_LINKS or leads_out:
            shown = root.path.rstrip("/") + f"{real}/{name}"[len(root.real.rstrip("/")) :]
            raise OSError(errno.ELOOP, f"{shown} is a link that leads out of {root.path}")
        # The way there is walked like any other: it may have changed again.
        here, real = _open_root(root, make=make), root.real
        todo += _names(destination[len(root.real) :])
    return here


def _names(path: str) -> list[str]:
    """The parts of a relative path, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _open_root(root: Root, *, make: bool) -> Folder:
    """Open the root itself; no link is followed on the way."""
    if not root.real:
        return Folder(os.open(root.path, _FLAGS & ~os.O_NOFOLLOW))
    if (found := kept.find((root.real, ""))) is not None:
        return found
    if _BY_NAME is None:
        if make:
            os.makedirs(root.real, exist_ok=True)
        here = Folder(os.open(root.real, _FLAGS | _NO_LINKS))
    else:
        here = Folder(os.open("/", _FLAGS))
        for name in reversed(_names(root.real)):
            following = _next(here.descriptor, name, make=make)
            if following is None:
                text = f"{root.path} leads elsewhere since the plan was made: {name} is a link now"
                raise OSError(errno.ELOOP, text)
            here = Folder(following)
    kept.add((root.real, ""), here)
    return here


def _next(folder: int, name: str, *, make: bool) -> int | None:
    """Open a folder by its name in another one; None if that is a link."""
    try:
        return os.open(name, _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        if not make or name_of_next(name):  # that one is a link, or somebody has removed it
            raise
    except OSError as error:
        if error.errno not in _NO_FOLDER or not _is_link(name, folder):
            raise
        return None
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return _next(folder, name, make=False)


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True  # it was one a moment ago; the next look tells
