"""The Hugging Face cache: where a repository's files go, and which commit a revision names.

kaiwo keeps the library's own layout, so that every other tool finds the files:

    <cache>/models--owner--repo/
        blobs/<etag>                    the bytes; sha256 of LFS files, git sha1 of the others
        snapshots/<commit>/<file>       links to them
        refs/<revision>                 the commit, written when all files of the task are in place

On volumes that cannot link, and with ``HF_HUB_DISABLE_SYMLINKS``, the files of a snapshot are files
themselves, see ``files/publish.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
import re
import secrets

from msgspec import Struct

from kaiwo import own_names
from kaiwo.errors import ConfigError, DiskError, UnsafeNameError
from kaiwo.files import documents
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, open_folder, resolved
from kaiwo.files.names import fault_of
from kaiwo.files.placement import absolute, expanded
from kaiwo.files.temporary_files import discard
from kaiwo.objects import Place, RemoteObject

_COMMIT = re.compile(r"[0-9a-f]{40}")
#: A reference is tried to be written so often, where other runs write it, too.
_ATTEMPTS = 20


class InHubCache(Struct, frozen=True):
    """The placement of a repository's files in the cache.

    Attributes:
        root: the repository's folder.
        revision: branch, tag, commit or ``refs/pr/N``.
        symlinks: its files may be symbolic links.
    """

    root: str
    revision: str
    symlinks: bool = True

    def place(self, remote: RemoteObject) -> Place:
        """A link in the snapshot, the bytes in a blob."""
        for name in (remote.key, remote.etag or "", remote.version or ""):
            if fault := fault_of(name):
                raise UnsafeNameError(f"file {remote.key!r}: {fault}")
        snapshot = posixpath.join(self.root, "snapshots", str(remote.version))
        blob = posixpath.join(self.root, "blobs", remote.etag) if remote.etag else None
        return Place(posixpath.join(snapshot, remote.key), self.root, blob, self.symlinks)

    def snapshot(self) -> str:
        """The folder of the commit that the revision was when it was last whole, as the cache says.

        All snapshots, where it does not say.
        """
        commit = self.revision
        if not _COMMIT.fullmatch(commit):
            commit = read_ref(self.root, commit) or ""
        return posixpath.join(self.root, "snapshots", commit)


def repository_folder(cache: str, repo_type: str, repo_id: str) -> str:
    """The folder of a repository, named as the library names it.

    Args:
        cache: path of the cache; may begin with ``~``.
        repo_type: ``model``, ``dataset`` or ``space``.
        repo_id: ``owner/repo``.

    Raises:
        DiskError: the cache is in the home folder, and there is none.
    """
    try:
        cache = expanded(cache)
    except ConfigError as error:
        raise DiskError(
            "the Hugging Face cache is in the home folder, and there is none; set HF_HOME or "
            "cache_dir to a writable folder"
        ) from error
    return posixpath.join(absolute(cache), "--".join((f"{repo_type}s", *repo_id.split("/"))))


def require_writable(storage: str) -> None:
    """Check that files can be made in a repository's folder, or in the nearest folder above it.

    Raises:
        DiskError: it cannot be written.
    """
    folder = _nearest_to(storage)
    if not _may_write(folder):
        raise DiskError(
            f"cannot write below {folder}; set HF_HOME or cache_dir to a writable folder"
        )


def is_writable(folder: str) -> bool:
    """Whether files can be made in a folder, or in the nearest one above it that exists."""
    return _may_write(_nearest_to(os.path.abspath(folder)))


def _nearest_to(path: str) -> str:
    while not os.path.lexists(path):
        path = posixpath.dirname(path)
    return path


def _may_write(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def read_ref(storage: str, revision: str) -> str | None:
    """The commit that a revision's name points to; None if the cache does not say."""
    path = posixpath.join(storage, "refs", revision)
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        commit = file.read()
        return commit if _COMMIT.fullmatch(commit) else None
    return None


def write_ref(storage: str, revision: str, commit: str) -> None:
    """Let a revision's name point to a commit; a revision that is a commit needs no name.

    Raises:
        DiskError: the cache cannot be written.
    """
    if _COMMIT.fullmatch(revision):
        return
    path = posixpath.join(storage, "refs", revision)
    if read_ref(storage, revision) == commit:
        return
    try:
        root = resolved(storage)
        open_folder(posixpath.dirname(path), root, make=True)
        _discard_left(storage, root)
        for attempt in range(_ATTEMPTS):
            # Other runs may write the same name now. And the library takes all in refs for names.
            part = posixpath.join(storage, own_names.ref_part_name(secrets.token_hex(8)))
            try:
                documents.replace(path, (commit,), part, prepare=_hold, root=root)
            except FileNotFoundError:  # another run took it for what a killed one left
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                return
    except OSError as error:
        raise disk_error(error, path) from error


def _hold(file: int) -> None:
    """Show other runs that this one lives: a lock ends with its process."""
    with contextlib.suppress(OSError):  # some volumes have no locks
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _discard_left(storage: str, root: Root) -> None:
    """Remove temporary files of references that killed runs left."""
    for name in os.listdir(storage):
        if own_names.is_ref_part(name):
            path = posixpath.join(storage, name)
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    discard(path, root)
                finally:
                    os.close(file)
