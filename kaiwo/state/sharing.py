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

from kaiwo.own_names import STATE_FOLDER
from kaiwo.state.folder import is_claims_folder


def make_folder(folder: str) -> None:
    """Make a folder of the state, and those above it; raises OSError."""
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = posixpath.dirname(folder)
    for each in reversed(missing):
        os.makedirs(each, exist_ok=True)
        if (root := _root_of(each)) != each:
            _share(each, root, os.stat(each), 0o700)


def share_file(descriptor: int, path: str) -> None:
    """Let the root's group have a file of the state that was just made, with mode 0600."""
    _share(descriptor, _root_of(posixpath.dirname(path)), os.fstat(descriptor), 0o600)


def _share(what: int | str, root: str, status: os.stat_result, own: int) -> None:
    """Give the group its part; where that is not possible, the owner alone has it."""
    with contextlib.suppress(OSError):
        above = os.stat(root)
        bits = above.st_mode & (own >> 3)
        if stat.S_ISDIR(status.st_mode):
            bits |= above.st_mode & stat.S_ISGID
        if status.st_gid != above.st_gid:
            os.chown(what, -1, above.st_gid)
        os.chmod(what, own | bits)
        return
    with contextlib.suppress(OSError):
        os.chmod(what, own)


def _root_of(folder: str) -> str:
    """The root above a folder of the state; with ``--state-dir``, that folder itself."""
    if is_claims_folder(folder):
        folder = posixpath.dirname(folder)
    if posixpath.basename(folder) == STATE_FOLDER:
        folder = posixpath.dirname(folder)
    return folder
