"""An archive that is a whole model, unpacked into the model's folder.

The archive was verified when it was published. Its entries go into ``.kaiwo/unpacking`` in the same
folder, which is the same file system, also where a pod has no other one that can be written:

    all entries are staged ─> the archive is removed ─> each file gets its name by a rename

Until the last entry is staged, no entry is in the model's folder. A run that is killed before that
finds the archive in place and begins with it; one that is killed later fetches it again. A file
whose bytes are there already stays as it is. What is refused leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import filecmp
import logging
import os
import secrets

from kaiwo import units
from kaiwo.errors import ConfigError, DiskError, IntegrityError
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, in_folder, open_folder, resolved
from kaiwo.files.kept_folders import kept_open
from kaiwo.files.modes import publish_mode
from kaiwo.files.paths import regular_file
from kaiwo.files.renames import rename
from kaiwo.files.temporary_files import status_of
from kaiwo.initializer import tar_files, zip_files
from kaiwo.initializer.places import Places
from kaiwo.initializer.staging import Staging
from kaiwo.state.folder import unpacking_folder
from kaiwo.state.leftovers import remove_staged
from kaiwo.state.sharing import make_folder

_ZIP = ".zip"
#: KServe unpacks these, too; nothing bounds the memory that they ask for.
_REFUSED = (".tar.xz", ".txz")
logger = logging.getLogger(__name__)


def ending_of(name: str) -> str | None:
    """What makes a file an archive: the end of its name; None if it is none."""
    name = name.lower()
    known = (*tar_files.ENDINGS, _ZIP, *_REFUSED)
    return next((each for each in known if name.endswith(each)), None)


def unpack(archive: str, folder: str, ending: str, *, is_own: bool, places: Places) -> None:
    """Put the files of an archive into a folder.

    Args:
        archive: path of a whole and verified file.
        folder: absolute path.
        ending: what makes it an archive: see ``ending_of``.
        is_own: the archive was fetched for this, and goes away.
        places: of all models of the run.

    Raises:
        IntegrityError: the archive is damaged, or has what no model has.
        UnsafeNameError: an entry has a name that is refused, or the place of another model's.
        ConfigError: archives of this kind are not unpacked.
        DiskError: there is no room, or the file system refuses.
    """
    if places.has(archive, folder):
        return
    root = resolved(folder)
    _clear(folder)
    logger.info("unpacking %s", units.printable(archive))
    try:
        with kept_open():
            staging = _staged(archive, folder, root, ending)
            files = [path for path, kind in staging.kinds.items() if kind == "file"]
            places.take((archive, *files) if is_own else files, folder, archive)
            if is_own:
                _remove(archive, root)
            _publish(staging, folder, root)
    except (IntegrityError, ConfigError):
        if is_own:
            _remove(archive, root)
        _clear(folder)
        raise
    except DiskError:
        _clear(folder)
        raise
    # After a signal there is no time: the next run clears it.
    _clear(folder)
    name = units.printable(os.path.basename(archive))
    logger.info("unpacked %s of %s", units.count(len(files), "file"), name)


def _clear(folder: str) -> None:
    """Remove what was staged.

    Raises:
        DiskError: the file system refuses.
    """
    try:
        remove_staged(folder)
    except OSError as error:
        raise disk_error(error, unpacking_folder(folder)) from error


def _remove(archive: str, root: Root) -> None:
    """Remove an archive: a server would take it for a part of its model."""
    try:
        with contextlib.suppress(FileNotFoundError):
            in_folder(archive, root, lambda folder, name: os.unlink(name, dir_fd=folder))
    except OSError as error:
        raise disk_error(error, archive) from error


def _staged(archive: str, folder: str, root: Root, ending: str) -> Staging:
    """Write all entries below the staging folder."""
    place = unpacking_folder(folder)
    if ending in _REFUSED:
        raise ConfigError(
            f"archive {units.printable(os.path.basename(archive))}: kaiwo does not unpack archives "
            f"of this kind; it knows {', '.join((*tar_files.ENDINGS, _ZIP))}"
        )
    try:
        make_folder(os.path.dirname(place), root)
        in_folder(place, root, lambda above, name: os.mkdir(name, 0o700, dir_fd=above))
        with open(archive, "rb") as file:
            # Of this run alone: another one in this folder may clear it, but not put files there.
            place = f"{place}/{secrets.token_hex(8)}"
            staging = Staging(place, root, archive, os.fstat(file.fileno()).st_size)
            if ending == _ZIP:
                zip_files.unpack(file, staging)
            else:
                tar_files.unpack(file, staging)
    except OSError as error:
        raise disk_error(error, place) from error
    if "file" not in staging.kinds.values():
        raise IntegrityError(f"archive {os.path.basename(archive)} holds no file")
    return staging


def _publish(staging: Staging, folder: str, root: Root) -> None:
    """Give each staged file its name in the folder."""
    for path, kind in staging.kinds.items():
        target = f"{folder}/{path}"
        try:
            if kind == "folder":
                open_folder(target, root, make=True)
            else:
                _take_place(f"{staging.folder}/{path}", target, root)
        except OSError as error:
            raise disk_error(error, target) from error


def _take_place(staged: str, target: str, root: Root) -> None:
    """Rename a file to its target, unless the same bytes are there; raises OSError."""
    open_folder(os.path.dirname(target), root, make=True)
    there = regular_file(target)
    if there is not None and not os.path.islink(target):
        with contextlib.suppress(OSError):
            if filecmp.cmp(staged, target, shallow=False):
                return
    written = status_of(staged, root)
    rename(staged, target, root, written)
    publish_mode(target, root, written)
