"""A temporary file gets its final name, by a rename.

Only this module makes bytes visible under a target's name. With a blob, as in the Hugging Face
cache, the bytes go there, and the target becomes a relative link to it.

A durable transfer survives a loss of power after ``publish``: the bytes, the name, and the folders
above it. The file is synchronised before the rename, the folders up to the root after it.
"""

from __future__ import annotations

import contextlib
import os

from kaiwo import own_names
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.temporary_files import discard
from kaiwo.jobs import Transfer


def publish(temporary: str, transfer: Transfer) -> int:
    """Rename the temporary file to its final name; returns its modification time in ns.

    Args:
        temporary: path of the file, complete and verified.
        transfer: where it goes, and whether it is durable.

    Raises:
        DiskError: the file system refused; the temporary file stays for the next attempt.
    """
    final = transfer.blob or transfer.target
    try:
        if transfer.durable:
            _sync(temporary)
        os.replace(temporary, final)
        if transfer.blob is not None:
            link(transfer)
        if transfer.durable:
            for place in {final, transfer.target}:
                _sync_folders(place, transfer.root)
        return os.stat(transfer.target).st_mtime_ns
    except OSError as error:
        raise disk_error(error, transfer.target) from error


def adopt(transfer: Transfer) -> None:
    """Use the file that is there already; where that is the blob, the target links to it.

    Raises:
        DiskError: the file system refused.
    """
    target, blob = transfer.target, transfer.blob
    if blob is None or not os.path.exists(blob):
        return
    try:
        if not (os.path.exists(target) and os.path.samefile(target, blob)):
            link(transfer)
    except OSError as error:
        raise disk_error(error, target) from error


def link(transfer: Transfer) -> None:
    """Make the target a relative link to its blob, and replace what is there; raises OSError."""
    blob, target = transfer.blob or transfer.target, transfer.target
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    name = own_names.link_name(os.path.basename(transfer.temporary))
    temporary = os.path.join(folder, name)
    discard(temporary)
    try:
        os.symlink(os.path.relpath(blob, folder), temporary)
    except OSError:
        # This file system has no links: move the bytes themselves, as the Hub's library does.
        os.replace(blob, target)
        return
    try:
        os.replace(temporary, target)
    except OSError:
        discard(temporary)
        raise


def _sync(path: str) -> None:
    """Synchronise a file's bytes, or a folder's names, with the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(place: str, root: str) -> None:
    """Synchronise the names of a file and of all folders above it; raises OSError.

    It is not known here which of them are new; for one that is not, this costs almost nothing.
    """
    folder = os.path.dirname(place)
    while len(folder) >= len(root):
        _sync(folder)
        if folder == "/":
            return
        folder = os.path.dirname(folder)
    # Folders further up may belong to others; those that this run made can be read.
    with contextlib.suppress(OSError):
        while folder != "/":
            _sync(folder)
            folder = os.path.dirname(folder)
