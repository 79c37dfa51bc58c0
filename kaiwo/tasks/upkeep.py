"""Fields of folders that are more than their files: ``prune`` and ``ready_file``."""

from __future__ import annotations

import posixpath
from typing import Protocol

from kaiwo.files.placement import Under

PRUNE = (
    "Files that kaiwo put there and that their source no longer has are removed, once all else is "
    "in place."
)
READY_FILE = (
    "Name of an empty file in the target folder: written when all is in place, removed before "
    "anything changes."
)


class Kept(Protocol):
    """What has these fields."""

    @property
    def prune(self) -> bool:
        """See ``Under``."""
        ...

    @property
    def ready_file(self) -> str | None:
        """Its name; None: there is none."""
        ...


def under(kept: Kept, folder: str, root: str, prefix: str = "") -> Under:
    """The placement of a folder; see ``Under`` for the arguments."""
    ready = "" if kept.ready_file is None else posixpath.join(folder, kept.ready_file)
    return Under(folder, root, prefix, kept.prune, ready)
