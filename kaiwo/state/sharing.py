"""Who may read and write the state: its owner, and the group of the root as far as in the root.

Pods of one group and several users share volumes (``fsGroup``). State that only its owner can read
would make the pod of another user fetch everything again. So a file or folder of the state gets the
group of the root, and what that group may do there; nobody else gets anything.

What the group can write is believed as far as any state: it says which file was seen in place, with
which size and time, and which ranges to look for. It never says what the right bytes are.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat

from kaiwo.files.folders import Root, in_folder, resolved
from kaiwo.files.paths import is_within
from kaiwo.own_names import STATE_FOLDER
from kaiwo.state.folder import is_claims_folder, is_meeting_folder


def root_of_state(folder: str) -> Root:
    """The root of a folder of the state, with its links as they are now."""
    return resolved(_root_of(folder))


def make_folder(folder: str, root: Root) -> None:
    """Make a folder of the state, and those above it.

    Args:
        folder: its path.
        root: see ``root_of_state``.

    Raises:
        OSError: the file system refused.
    """
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = posixpath.dirname(folder)
    for each in reversed(missing):
        if each == root.path or not is_within(each, root.path):
            # The root may be a link to a folder that is not there yet, as may those above it.
            os.makedirs(root.real or root.path, exist_ok=True)
            continue
        descriptor = in_folder(each, root, _made)
        try:
            _share(descriptor, root, os.fstat(descriptor), 0o700)
        finally:
            os.close(descriptor)


def _made(folder: int | None, name: str) -> int:
    """Make a folder, and open it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=folder)


def share_file(descriptor: int, root: Root) -> None:
    """Let the root's group have a file of the state that was just made, with mode 0600."""
    _share(descriptor, root, os.fstat(descriptor), 0o600)


def _share(descriptor: int, root: Root, status: os.stat_result, own: int) -> None:
    """Give the group its part; where that is not possible, the owner alone has it."""
    with contextlib.suppress(OSError):
        above = os.stat(root.real)
        bits = above.st_mode & (own >> 3)
        if stat.S_ISDIR(status.st_mode):
            bits |= above.st_mode & stat.S_ISGID
        if status.st_gid != above.st_gid:
            os.fchown(descriptor, -1, above.st_gid)
        os.fchmod(descriptor, own | bits)
        return
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, own)


def _root_of(folder: str) -> str:
    """The root above a folder of the state; with ``--state-dir``, that folder itself."""
    if is_claims_folder(folder) or is_meeting_folder(folder):
        folder = posixpath.dirname(folder)
    if posixpath.basename(folder) == STATE_FOLDER:
        folder = posixpath.dirname(folder)
    return folder
