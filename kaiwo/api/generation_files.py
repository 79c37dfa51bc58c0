"""A generation holds the files of its snapshot, and nothing else that runs have left there."""

from __future__ import annotations

import os
from collections.abc import Iterable

from kaiwo.errors import DiskError
from kaiwo.files.folders import Root, in_folder
from kaiwo.files.temporary_files import discard
from kaiwo.own_names import is_temporary
from kaiwo.planning.case_folding import Spellings


def keep_only(root: Root, names: Iterable[str], *, parts: bool = True) -> set[str]:
    """Remove what is in a generation besides these files, such as what a killed run has left.

    Args:
        root: the generation.
        names: of its files, relative to it.
        parts: temporary files beside these stay, too.

    Returns:
        The names of files that are not there.

    Raises:
        DiskError: something cannot be removed.
    """
    folder = root.path
    missing = {os.fsdecode(os.fsencode(name)) for name in names}
    wanted = Spellings(f"{folder}/{name}" for name in missing)
    beside = {os.path.dirname(f"{folder}/{name}") for name in missing} if parts else set()
    for above, folders, files in os.walk(folder, topdown=False):
        for name in files:
            path = f"{above}/{name}"
            if (same := wanted.find(path)) is not None:
                missing.discard(same[len(folder) + 1 :])
            elif not (above in beside and is_temporary(name)):
                discard(path, root)
                if os.path.lexists(path):
                    raise DiskError(f"cannot remove {path}, which is not of the snapshot")
        for name in folders:
            _remove_empty(f"{above}/{name}", root)
    return missing


def _remove_empty(path: str, root: Root) -> None:
    """Remove a folder that holds nothing, or a link to one."""

    def remove(folder: int | None, name: str) -> None:
        os.rmdir(name, dir_fd=folder)

    if os.path.islink(path):
        discard(path, root)
        return
    try:
        in_folder(path, root, remove)
    except OSError:
        return  # it holds files
