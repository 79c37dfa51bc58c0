"""A temporary file gets its final name, by a rename.

Only this module makes bytes visible under a target's name. With a blob, as in the Hugging Face
cache, the bytes go there, and the target becomes a relative link to it; where the file system has
no symbolic links, a second name of another kind (``second_names.py``), and where it has none at
all, the bytes go to the target alone. That is known before the blob gets its bytes, and a blob that
is there is never moved: other snapshots share it.

A staged transfer only gets its place in the next generation; ``generations.py`` has the rest.

A durable transfer survives a loss of power after ``publish``: the bytes, the name, and the folders
above it. The file is synchronised before the rename, the folders up to the root after it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat

from kaiwo import own_names
from kaiwo.errors import PassingDiskError
from kaiwo.files import modes, second_names
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, in_folder, open_folder, root_of
from kaiwo.files.kept_folders import kept
from kaiwo.files.renames import rename, same_file
from kaiwo.files.repeat import PASSING, repeat
from kaiwo.files.temporary_files import discard, status_of
from kaiwo.jobs import Transfer

#: How a file system says that it does not synchronise folders: it has nothing to do (FUSE, SMB), or
#: this user may write there and not read.
_NO_FOLDER_SYNC = {
    errno.EACCES,
    errno.EBADF,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
}
logger = logging.getLogger(__name__)


def publish(temporary: str, transfer: Transfer, written: os.stat_result | None = None) -> int:
    """Rename the temporary file to its final name; returns its modification time in ns.

    Args:
        temporary: path of the file, complete and verified.
        transfer: where it goes, and whether it is durable.
        written: its status, if that is known.

    Raises:
        PassingDiskError: it is not at the target, since its folder was moved meanwhile.
        DiskError: the file system refused; the temporary file stays for the next attempt.
    """
    target, root = transfer.destination, root_of(transfer)
    try:
        status = status_of(temporary, root) if written is None else written
        if transfer.durable:
            sync(temporary, root)
        place = target
        if transfer.blob is None or transfer.staged:
            rename(temporary, target, root, status)
        else:
            place = _publish_both(temporary, transfer.blob, transfer, status)
        modes.publish_mode(place, root, status)
        if transfer.durable:
            for each in {place, target}:
                _sync_folders(each, transfer.root)
        now = _require_there(target, place, root, status)
    except OSError as error:
        raise disk_error(error, target) from error
    return now.st_mtime_ns


def _publish_both(temporary: str, blob: str, transfer: Transfer, status: os.stat_result) -> str:
    """Rename the temporary file to its blob, and give it its second name; raises OSError.

    Returns:
        Where the file is now: the blob, or the target where there are no second names.
    """
    root = root_of(transfer)
    name = _free_name(transfer, root)
    try:
        has_both = _symlink(blob, name, transfer, root) or second_names.share(temporary, name, root)
        place = blob if has_both else transfer.target
        rename(temporary, place, root, status)
        if has_both:
            _take_name(name, transfer.target, root)
    except OSError:
        discard(name, root)
        raise
    return place


def _require_there(target: str, place: str, root: Root, written: os.stat_result) -> os.stat_result:
    """The status of the target, which must be what was written.

    The rename was in an open folder. That may have been moved meanwhile, and somebody may have put
    another file in place of the temporary one.

    Args:
        target: of the transfer.
        place: where the file went; the target may be its second name.
        root: of both.
        written: the status of the temporary file.

    Raises:
        PassingDiskError: it is not.
        OSError: the file system refused.
    """
    try:
        now = repeat(lambda: os.stat(target))
        if os.path.samestat(now, written) and now.st_uid == written.st_uid:
            return now
        # A copy, or a mount that numbers its files anew each time.
        there, own = os.stat(place), status_of(place, root)
        is_own = own.st_size == written.st_size and own.st_uid == written.st_uid
        if is_own and same_file(there, own) and now.st_size == own.st_size:
            return now
    except FileNotFoundError:
        pass
    kept.clear()
    raise PassingDiskError(
        f"cannot write {target}: its folder or the file was replaced while kaiwo wrote there; "
        "give that folder to this run alone"
    )


def adopt(transfer: Transfer, path: str) -> int:
    """Use the file that is there already; where that is the blob, the target gets its bytes.

    Of a staged transfer, nothing else stays in the next generation: what is there is right.

    Args:
        transfer: the object.
        path: of that file: the target, or the blob.

    Returns:
        The modification time of the file in ns.

    Raises:
        DiskError: the file system refused.
    """
    target, blob = transfer.target, transfer.blob
    try:
        if transfer.staged:
            if path == target:
                discard(transfer.destination, root_of(transfer))
            return repeat(lambda: os.stat(path)).st_mtime_ns
        is_elsewhere = blob is not None and os.path.exists(blob)
        if is_elsewhere and not (os.path.exists(target) and os.path.samefile(target, str(blob))):
            link(transfer)
        return repeat(lambda: os.stat(target)).st_mtime_ns
    except OSError as error:
        raise disk_error(error, target) from error


def link(transfer: Transfer) -> None:
    """Make the target a second name of its blob, and replace what is there; raises OSError."""
    root = root_of(transfer)
    blob, name = transfer.blob or transfer.target, _free_name(transfer, root)
    try:
        if not (_symlink(blob, name, transfer, root) or second_names.share(blob, name, root)):
            second_names.copy(blob, name, root, durable=transfer.durable)
        _take_name(name, transfer.target, root)
    except OSError:
        discard(name, root)
        raise


def _take_name(name: str, target: str, root: Root) -> None:
    """Let a second name become the target; raises OSError."""
    status = in_folder(
        name, root, lambda folder, name: os.stat(name, dir_fd=folder, follow_symlinks=False)
    )
    rename(name, target, root, status)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        modes.publish_mode(target, root, status)


def _free_name(transfer: Transfer, root: Root) -> str:
    """A path beside the target that nothing has, for its link; raises OSError."""
    folder = os.path.dirname(transfer.target)
    repeat(lambda: open_folder(folder, root, make=True))
    path = os.path.join(folder, own_names.link_name(os.path.basename(transfer.temporary)))
    discard(path, root)
    return path


def _symlink(blob: str, path: str, transfer: Transfer, root: Root) -> bool:
    """Make a relative link to the blob; False where there are no links, or none are wanted."""
    if not transfer.symlinks:
        return False
    return second_names.symlink(os.path.relpath(blob, os.path.dirname(path)), path, root)


def sync(path: str, root: Root | None = None) -> None:
    """Synchronise a file's bytes, or a folder's names, with the disk; raises OSError."""
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if root is None else os.O_NOFOLLOW)

    def attempt() -> None:
        descriptor = in_folder(path, root, lambda folder, name: os.open(name, flags, dir_fd=folder))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # After EIO, what was lost is not written again, and the next call succeeds.
    repeat(attempt, PASSING - {errno.EIO})


def sync_folder(path: str) -> None:
    """Synchronise the names in a folder; raises OSError.

    A folder that cannot be synchronised is no failure: its file system keeps names in its own way.
    """
    try:
        sync(path)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
        logger.debug("%s cannot be synchronised: %s", path, error.strerror)


def _sync_folders(place: str, root: str) -> None:
    """Synchronise the names of a file and of all folders above it; raises OSError.

    It is not known here which of them are new; for one that is not, this costs almost nothing.
    """
    folder = os.path.dirname(place)
    while len(folder) >= len(root):
        sync_folder(folder)
        if folder == "/":
            return
        folder = os.path.dirname(folder)
    # Folders further up may belong to others; those that this run made can be read.
    with contextlib.suppress(OSError):
        while folder != "/":
            sync(folder)
            folder = os.path.dirname(folder)
