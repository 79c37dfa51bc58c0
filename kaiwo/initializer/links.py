"""A model on a volume that the pod has mounted: links to its files, as KServe's own makes them.

``/mnt/pvc`` is where the controller mounts a claim beside the model's folder, in the init
container and in the server. So a link is right in both, and nothing is copied. Names that begin
with a dot are left out, as there. An only archive is unpacked, and stays on its volume.
"""

from __future__ import annotations

import logging
import os

from msgspec import Struct

from kaiwo import units
from kaiwo.errors import ConfigError, DiskError, NotFoundError
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, open_folder, resolved
from kaiwo.files.second_names import symlink
from kaiwo.initializer.places import Places
from kaiwo.initializer.selection import Patterns
from kaiwo.initializer.unpacking import ending_of, unpack

logger = logging.getLogger(__name__)


class Linked(Struct, frozen=True):
    """A model that is on a volume already.

    Attributes:
        path: absolute; a file, or the folder of the model.
        folder: where the server looks for it; absolute.
        patterns: which files are wanted.
    """

    path: str
    folder: str
    patterns: Patterns

    def carry_out(self, places: Places) -> None:
        """Link what is at the path into the folder, or unpack it there.

        Args:
            places: of all models of the run.

        Raises:
            NotFoundError: nothing is there.
            ConfigError: something else has the name of a link.
            KaiwoError: see ``unpacking.unpack``.
        """
        found = self._found()
        ending = ending_of(found[0]) if len(found) == 1 and os.path.isfile(found[0]) else None
        if ending is not None:
            unpack(found[0], self.folder, ending, is_own=False, places=places)
            return
        places.take(map(os.path.basename, found), self.folder)
        root = resolved(self.folder)
        for path in found:
            _link(path, f"{self.folder}/{os.path.basename(path)}", root)
        count = units.count(len(found), "link")
        logger.info("%s to %s in %s", count, units.printable(self.path), self.folder)

    def _found(self) -> list[str]:
        """The files and folders of the model."""
        if not os.path.isdir(self.path):
            if not os.path.lexists(self.path):
                raise NotFoundError(
                    f"{self.path} is not there: is the volume mounted in this container?"
                )
            return [self.path]
        try:
            names = sorted(os.listdir(self.path))
        except OSError as error:
            raise DiskError(f"cannot list {self.path}: {error.strerror}") from error
        is_wanted = self.patterns.matcher()
        found = [
            f"{self.path}/{each}" for each in names if not each.startswith(".") and is_wanted(each)
        ]
        if not found:
            raise NotFoundError(f"{self.path} holds no file of a model")
        return found


def _link(path: str, place: str, root: Root) -> None:
    try:
        open_folder(os.path.dirname(place), root, make=True)
        if os.path.lexists(place):
            # A container that is started again has made it before.
            if os.path.islink(place) and os.readlink(place) == path:
                return
            raise ConfigError(
                f"{units.printable(place)} exists and is no link to {units.printable(path)}: "
                "remove it, or choose another folder"
            )
        if not symlink(path, place, root):
            raise DiskError(f"cannot make a link in {os.path.dirname(place)}: it has none")
    except OSError as error:
        raise disk_error(error, place) from error
