"""Files that ``prune`` may remove: kaiwo put them there, and their source has them no longer.

A file is stale only if all of this is so:

    the item is a folder's, with ``prune``; all listings of the run are complete, its own not empty
    the manifest says that this item published it: the same service, and the URL that its key has
    the item's globs select that key, and nothing that was listed goes to that file by any name
    it is a regular file, of the size and time that it was published with

What is stale is claimed like what is to be fetched. So no other run puts a file there meanwhile.
"""

from __future__ import annotations

import logging
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from kaiwo.errors import UnsafeNameError
from kaiwo.files.paths import is_within, real_path
from kaiwo.files.placement import Under, folder_of
from kaiwo.jobs import Want
from kaiwo.objects import Folder
from kaiwo.planning.case_folding import folded
from kaiwo.planning.gather import Listing
from kaiwo.state.records import Record
from kaiwo.workers.globs import matcher

logger = logging.getLogger(__name__)
#: What a manifest says of the files below a root.
Records = Callable[[str], Iterable[Record]]


class Stale(Struct, frozen=True):
    """A file that may be removed.

    Attributes:
        task: that published it.
        target: its absolute path.
        root: see ``Transfer``.
        record: what it was published as.
        blob: None, for claims.
    """

    task: str
    target: str
    root: str
    record: Record
    blob: str | None = None

    def is_same(self, status: os.stat_result) -> bool:
        """Whether that is the file which was published."""
        as_published = self.record.size, self.record.mtime_ns
        return stat.S_ISREG(status.st_mode) and as_published == (status.st_size, status.st_mtime_ns)


def pruned(wants: Iterable[Want]) -> Iterator[tuple[Want, Under, Folder]]:
    """The wants with ``prune``, each with its folder and what it selects."""
    for want in wants:
        place, selection = folder_of(want.placement), want.selection
        if place is not None and place.prune and isinstance(selection, Folder):
            yield want, place, selection


def stale(listing: Listing, records: Records) -> tuple[Stale, ...]:
    """What may be removed once all that was listed is in place.

    Args:
        listing: of all wants.
        records: of what was in place before anything was listed.
    """
    if listing.failed or listing.unreached or not any(pruned(want for want, _ in listing.found)):
        return ()
    folders: dict[str, str] = {}
    kept = {
        folded(real_path(want.placement.place(remote).target, folders))
        for want, objects in listing.found
        for remote in objects
    }
    found: dict[str, Stale] = {}
    for want, objects in listing.found:
        for _, place, selection in pruned((want,)):
            if not objects:
                logger.warning("%s: nothing is listed, so nothing is removed", want.where)
                continue
            for each in _published(want, place, selection, records(place.root)):
                if folded(real_path(each.target, folders)) not in kept and _is_there(each):
                    found[each.target] = each
    return tuple(found[target] for target in sorted(found))


def _published(
    want: Want, place: Under, selection: Folder, records: Iterable[Record]
) -> Iterator[Stale]:
    """What the want has published, as far as it still selects that."""
    matches = matcher(selection)
    above = place.folder.rstrip("/") + "/"
    for record in records:
        target = posixpath.normpath(posixpath.join(place.root, record.target))
        relative = target.removeprefix(above)
        if relative == target or not matches(relative):
            continue
        url = want.opener.url(place.prefix + relative, record.version)
        if (record.origin, record.source) == (want.opener.origin, url):
            yield Stale(want.task, target, place.root, record)


def _is_there(stale: Stale) -> bool:
    try:
        return stale.is_same(os.lstat(stale.target))
    except OSError:
        return False


def require_no_ready_file(listing: Listing) -> None:
    """Refuse objects at the path of a ``ready_file``.

    Raises:
        UnsafeNameError: there are some.
    """
    wants = (want for want, _ in listing.found)
    ready = {folded(place.ready): want for want, place in with_ready(wants)}
    if not ready:
        return
    for want, objects in listing.found:
        for remote in objects:
            target = want.placement.place(remote).target
            name = folded(target)
            if (path := next((each for each in ready if is_within(name, each)), None)) is not None:
                fault = f"{target}: {want.opener.url(remote.key)} has the path of a ready_file"
                raise UnsafeNameError(
                    f"nothing was downloaded: {fault} ({ready[path].where}); give it another name",
                    (fault,),
                )


def with_ready(wants: Iterable[Want]) -> Iterator[tuple[Want, Under]]:
    """The wants with a ``ready_file``, each with its folder."""
    for want in wants:
        place = folder_of(want.placement)
        if place is not None and place.ready:
            yield want, place
