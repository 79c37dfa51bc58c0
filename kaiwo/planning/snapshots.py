"""Snapshots: folders whose files change all at once, see ``files/generations.py``.

A snapshot is of one item, or of one ``hf`` task, and nothing else puts files there. A generation
holds exactly what its source lists. There is a new one if any object is not at the target, or if
the source no longer has one that kaiwo had put there, as the manifest was before the listings.
"""

from __future__ import annotations

import logging
import os
import posixpath
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from msgspec import Struct

from kaiwo.errors import UnsafeNameError
from kaiwo.files import generations
from kaiwo.files.paths import is_within, real_path
from kaiwo.files.placement import Under, folder_of
from kaiwo.jobs import Want
from kaiwo.planning.case_folding import Spellings, folded
from kaiwo.planning.gather import Listing
from kaiwo.planning.offenders import Offenders
from kaiwo.planning.prune import Records
from kaiwo.state.records import Record

logger = logging.getLogger(__name__)


class Snapshot(Struct, frozen=True):
    """A folder whose files change all at once.

    Attributes:
        task: of its item.
        target: absolute path of the link.
        root: see ``Transfer``.
        place: of its files.
        files: the targets of all that is listed.
        gone: files at the target that its source no longer has.
        is_whole: all of it could be listed.
        blob: None, for claims.
    """

    task: str
    target: str
    root: str
    place: Under
    files: frozenset[str]
    gone: tuple[str, ...] = ()
    is_whole: bool = True
    blob: str | None = None

    def may_change(self, missing: AbstractSet[str]) -> bool:
        """Whether there may be a new generation; ``missing`` are targets of what may be fetched."""
        if not self.files.isdisjoint(missing):
            return True
        return self.is_whole and (bool(self.gone) or generations.number_of(self.target) is None)


def in_snapshots(wants: Iterable[Want]) -> Iterator[tuple[Want, Under]]:
    """The wants whose files change all at once, each with its folder."""
    for want in wants:
        place = folder_of(want.placement)
        if place is not None and place.generations:
            yield want, place


def snapshots(listing: Listing, records: Records) -> tuple[Snapshot, ...]:
    """The snapshots of a listing.

    Args:
        listing: whose names and targets were checked.
        records: of what was in place before anything was listed.
    """
    places: dict[str, tuple[Want, Under]] = {}
    files: dict[str, set[str]] = {}
    for found, objects in listing.found:
        for want, place in in_snapshots((found,)):
            places.setdefault(place.folder, (want, place))
            targets = files.setdefault(place.folder, set())
            targets.update(want.placement.place(remote).target for remote in objects)
    missed = (*(want for want, _ in listing.failed), *listing.unreached)
    blocked = {place.folder for _, place in in_snapshots(missed)}
    result = []
    for folder, (want, place) in places.items():
        if not files[folder]:
            logger.warning("%s: nothing is listed, so %s stays as it is", want.where, folder)
            continue
        is_whole = folder not in blocked
        gone = tuple(_gone(place, files[folder], records)) if is_whole else ()
        of_folder = frozenset(files[folder])
        result.append(Snapshot(want.task, folder, place.root, place, of_folder, gone, is_whole))
    return tuple(result)


def _gone(place: Under, files: Iterable[str], records: Records) -> Iterator[str]:
    """The files of the current generation that are not in the next one.

    What the manifest has is of the newest one. Where somebody has gone back, all files count.
    """
    wanted = Spellings((*files, *filter(None, (place.ready,))))
    known = below_of(place, records(place.root))
    if generations.is_older(place.folder):
        known = (f"{above}/{name}" for above, _, names in os.walk(place.folder) for name in names)
    for target in known:
        if os.path.lexists(target) and wanted.find(target) is None:
            yield target


def below_of(place: Under, records: Iterable[Record]) -> Iterator[str]:
    """The paths of the records that are below a folder."""
    above = f"{posixpath.relpath(place.folder, place.root)}/"
    for record in records:
        if record.target.startswith(above):
            target = posixpath.normpath(posixpath.join(place.root, record.target))
            if is_within(target, place.folder):
                yield target


def require_places(listing: Listing) -> None:
    """Return if every snapshot can have its target, and has it alone.

    Raises:
        UnsafeNameError: some cannot; all of them are named.
    """
    places = {id(place): (want, place) for want, place in in_snapshots(_found(listing))}
    if not places:
        return
    offenders = Offenders()
    for want, place in places.values():
        if fault := generations.fault_of(place.folder):
            offenders.add(f"{place.folder}: {fault}{_in_config(want)}", want)
    folders: dict[str, str] = {}
    held = [(want, place, *_names_of(place, folders)) for want, place in places.values()]
    for want, objects in listing.found:
        others = [each for each in held if each[1] is not folder_of(want.placement)]
        for remote in objects if others else ():
            try:
                target = want.placement.place(remote).target
            except UnsafeNameError:
                continue  # it is refused for that
            name, real = folded(target), real_path(target, folders)
            for other, place, folder, generation in others:
                if is_within(name, folder) or is_within(real, generation):
                    offenders.add(
                        f"{target}: {want.opener.url(remote.key)}{_in_config(want)} is in the "
                        f"snapshot {place.folder}{_in_config(other)}, which holds nothing else",
                        want,
                    )
    if offenders:
        named = tuple(offenders)
        raise UnsafeNameError(
            "nothing was downloaded: publish: snapshot cannot have these targets:\n  "
            + "\n  ".join(named),
            named,
        )


def _names_of(place: Under, folders: dict[str, str]) -> tuple[str, str]:
    """The path of a snapshot as all file systems have it, and the real one of its generations."""
    return folded(place.folder), real_path(generations.folder_of(place.folder), folders)


def _found(listing: Listing) -> Iterator[Want]:
    return (want for want, _ in listing.found)


def _in_config(want: Want) -> str:
    return f" ({want.where})" if want.where else ""
