"""A temporary file gets its final name, by a rename.

Only this module makes bytes visible under a target's name. With a blob, as in the Hugging Face
cache, the bytes go there, and the target becomes a relative link to it; where the file system has
no symbolic links, a second name of another kind (``second_names.py``), and where it has none at
all, the bytes go to the target alone. That is known before the blob gets its bytes, and a blob that
is there is never moved: other snapshots share it.

A durable transfer survives a loss of power after ``publish``: the bytes, the name, and the folders
above it. The file is synchronised before the rename, the folders up to the root after it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os

from kaiwo import own_names
from kaiwo.files import second_names
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.renames import rename
from kaiwo.files.repeat import PASSING, repeat
from kaiwo.files.temporary_files import discard
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


def publish(temporary: str, transfer: Transfer) -> int:
    """Rename the temporary file to its final name; returns its modification time in ns.

    Args:
        temporary: path of the file, complete and verified.
        transfer: where it goes, and whether it is durable.

    Raises:
        DiskError: the file system refused; the temporary file stays for the next attempt.
    """
    target, blob = transfer.target, transfer.blob
    try:
        if transfer.durable:
            _sync(temporary)
        if blob is None:
            rename(temporary, target)
        else:
            _publish_both(temporary, blob, transfer)
        if transfer.durable:
            for place in {blob or target, target}:
                _sync_folders(place, transfer.root)
        return repeat(lambda: os.stat(target)).st_mtime_ns
    except OSError as error:
        raise disk_error(error, target) from error


def _publish_both(temporary: str, blob: str, transfer: Transfer) -> None:
    """Rename the temporary file to its blob, and give it its second name; raises OSError."""
    name = _free_name(transfer)
    try:
        has_both = _symlink(blob, name, transfer) or second_names.share(temporary, name)
        rename(temporary, blob if has_both else transfer.target)
        if has_both:
            rename(name, transfer.target)
    except OSError:
        discard(name)
        raise


def adopt(transfer: Transfer) -> int:
    """Use the file that is there already; where that is the blob, the target gets its bytes.

    Returns:
        The modification time of the target in ns.

    Raises:
        DiskError: the file system refused.
    """
    target, blob = transfer.target, transfer.blob
    try:
        is_elsewhere = blob is not None and os.path.exists(blob)
        if is_elsewhere and not (os.path.exists(target) and os.path.samefile(target, str(blob))):
            link(transfer)
        return repeat(lambda: os.stat(target)).st_mtime_ns
    except OSError as error:
        raise disk_error(error, target) from error


def link(transfer: Transfer) -> None:
    """Make the target a second name of its blob, and replace what is there; raises OSError."""
    blob, name = transfer.blob or transfer.target, _free_name(transfer)
    try:
        if not (_symlink(blob, name, transfer) or second_names.share(blob, name)):
            second_names.copy(blob, name, durable=transfer.durable)
        rename(name, transfer.target)
    except OSError:
        discard(name)
        raise


def _free_name(transfer: Transfer) -> str:
    """A path beside the target that nothing has, for its link; raises OSError."""
    folder = os.path.dirname(transfer.target)
    repeat(lambda: os.makedirs(folder, exist_ok=True))
    path = os.path.join(folder, own_names.link_name(os.path.basename(transfer.temporary)))
    discard(path)
    return path


def _symlink(blob: str, path: str, transfer: Transfer) -> bool:
    """Make a relative link to the blob; False where there are no links, or none are wanted."""
    if not transfer.symlinks:
        return False
    return second_names.symlink(os.path.relpath(blob, os.path.dirname(path)), path)


def _sync(path: str) -> None:
    """Synchronise a file's bytes, or a folder's names, with the disk; raises OSError."""

    def attempt() -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # After EIO, what was lost is not written again, and the next call succeeds.
    repeat(attempt, PASSING - {errno.EIO})


def _sync_folders(place: str, root: str) -> None:
    """Synchronise the names of a file and of all folders above it; raises OSError.

    It is not known here which of them are new; for one that is not, this costs almost nothing. A
    folder that cannot be synchronised is no failure: its file system keeps names in its own way.
    """
    folder = os.path.dirname(place)
    while len(folder) >= len(root):
        try:
            _sync(folder)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
            logger.debug("%s cannot be synchronised: %s", folder, error.strerror)
        if folder == "/":
            return
        folder = os.path.dirname(folder)
    # Folders further up may belong to others; those that this run made can be read.
    with contextlib.suppress(OSError):
        while folder != "/":
            _sync(folder)
            folder = os.path.dirname(folder)
