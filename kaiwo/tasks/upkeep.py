"""Fields of folders that are more than their files: ``prune``, ``ready_file`` and ``publish``."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from typing import Literal, Protocol

from kaiwo import own_names
from kaiwo.errors import ConfigError
from kaiwo.files.names import LONGEST_NAME
from kaiwo.files.placement import Under

PRUNE = (
    "Files that kaiwo put there and that their source no longer has are removed, once all else is "
    "in place."
)
READY_FILE = (
    "Name of an empty file in the target folder: written when all is in place, removed before "
    "anything changes."
)

PUBLISH = (
    "``files``: each file when it is complete. ``snapshot``: all files at once, by the rename of a "
    "link at the target."
)
KEEP_GENERATIONS = (
    "Of a snapshot: how many generations stay on the disk, the one at the target included. "
    "Default: 2."
)
Publish = Literal["files", "snapshot"]
_GENERATIONS = 2


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

    @property
    def publish(self) -> Publish:
        """When files become visible."""
        ...

    @property
    def keep_generations(self) -> int | None:
        """See ``Under.generations``."""
        ...


def contradictions(kept: Kept) -> Iterator[tuple[str, str]]:
    """See ``Task``."""
    if kept.keep_generations is not None and kept.publish != "snapshot":
        yield "keep_generations", "keep_generations needs publish: snapshot"


def under(kept: Kept, folder: str, root: str, prefix: str = "") -> Under:
    """The placement of a folder; see ``Under`` for the arguments.

    Raises:
        ConfigError: it cannot be a link.
    """
    ready = "" if kept.ready_file is None else posixpath.join(folder, kept.ready_file)
    if kept.publish != "snapshot":
        return Under(folder, root, prefix, kept.prune, ready)
    # Beside the link, so that what is remembered does not change with it.
    above, name = posixpath.split(folder)
    if not name:
        raise ConfigError(f"{folder}: publish: snapshot puts a link there, which cannot be")
    if len(os.fsencode(own_names.generations_name(name))) > LONGEST_NAME:
        raise ConfigError(f"{folder}: the name is too long for publish: snapshot")
    # A generation holds exactly what its source has: there is nothing to prune.
    number = kept.keep_generations or _GENERATIONS
    return Under(folder, above if root == folder else root, prefix, False, ready, number)
