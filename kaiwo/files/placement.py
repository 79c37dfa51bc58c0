"""Where an object goes: below a folder under its own name, or at one path."""

from __future__ import annotations

import os
import posixpath

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import own_names
from kaiwo.errors import ConfigError, UnsafeNameError
from kaiwo.files.names import PLAIN, fault_of
from kaiwo.files.paths import is_within
from kaiwo.objects import Place, RemoteObject
from kaiwo.protocols import Placement


class Under(Struct, frozen=True):
    """Objects of a folder keep their names, relative to its prefix, below ``folder``.

    Attributes:
        folder: absolute path.
        root: see ``Transfer.root``.
        prefix: removed from the front of each key.
        prune: files that kaiwo put there are removed when their source no longer has them.
        ready: path of the file that says that all is in place; empty: there is none.
        generations: the folder is a link to one of them, and this number of them stays; 0: it is a
            folder.
    """

    folder: str
    root: str
    prefix: str = ""
    prune: bool = False
    ready: str = ""
    generations: int = 0

    def place(self, remote: RemoteObject) -> Place:
        """A path below the folder.

        Raises:
            UnsafeNameError: the key is not a safe name for a file.
        """
        relative = remote.key.removeprefix(self.prefix)
        if PLAIN.fullmatch(relative):
            target = f"{self.folder.rstrip('/')}/{relative}"
        elif fault := fault_of(relative):
            raise UnsafeNameError(f"key {remote.key!r}: {fault}")
        else:
            target = posixpath.normpath(posixpath.join(self.folder, relative))
        if not self.generations:
            return Place(target, self.root)
        staged = next_path(self.folder) + target[len(self.folder) :]
        return Place(target, self.root, staged, staged=True)


class At(Struct, frozen=True):
    """One object goes to exactly that path.

    Attributes:
        path: absolute path of the file.
        root: see ``Transfer.root``.
    """

    path: str
    root: str

    def place(self, remote: RemoteObject) -> Place:  # noqa: ARG002 - the user named the path
        """That path."""
        return Place(self.path, self.root)


class WithoutQuery(Struct, frozen=True):
    """Files of a page of links: a query is a part of the key, and not of the file's name.

    Attributes:
        placement: of keys without a query.
    """

    placement: Placement

    @property
    def root(self) -> str:
        """See ``Placement``."""
        return self.placement.root

    def place(self, remote: RemoteObject) -> Place:
        """See ``Placement``."""
        return self.placement.place(replace(remote, key=remote.key.partition("?")[0]))


def next_path(folder: str) -> str:
    """The path of the link to the next generation of a folder."""
    above, name = posixpath.split(folder)
    return posixpath.join(above, own_names.next_name(name))


def folder_of(placement: object) -> Under | None:
    """The folder behind a placement, also of one that changes keys first; None for others."""
    while placement is not None and not isinstance(placement, Under):
        placement = getattr(placement, "placement", None)
    return placement


def expanded(path: str) -> str:
    """The path with a leading ``~`` replaced by the home folder.

    Raises:
        ConfigError: there is no home folder, as for a user without an entry in passwd.
    """
    found = os.path.expanduser(path)
    if found.startswith("~"):
        raise ConfigError(f"{path}: the home folder is unknown; set HOME, or give an absolute path")
    return found


def absolute(path: str) -> str:
    """The absolute path; a relative one is below the working directory.

    Raises:
        ConfigError: the home folder is unknown, or the working directory was removed.
    """
    try:
        return os.path.abspath(expanded(path))
    except FileNotFoundError:
        raise ConfigError(
            "the working directory does not exist any more; change to another one, or give "
            "absolute paths (download_root, or the target)"
        ) from None


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
