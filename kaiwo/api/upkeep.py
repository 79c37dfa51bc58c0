"""What a folder is besides its files: stale ones go, and a ``ready_file`` says that it is whole.

before the listings    what is in place, so that nothing newer is ever taken for stale
the plan is closed     a ready file is removed, where something is about to change
all is in place        stale files are removed; then ready files are written
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence

from kaiwo import own_names, units
from kaiwo.api.tools import Tools
from kaiwo.errors import DiskError
from kaiwo.files import documents
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import in_folder, open_folder, resolved
from kaiwo.files.paths import is_within, regular_file
from kaiwo.jobs import Plan, Want
from kaiwo.objects import Report
from kaiwo.planning import prune
from kaiwo.planning.gather import Listing
from kaiwo.planning.prune import Stale
from kaiwo.state.claims import is_alone
from kaiwo.state.records import Record

logger = logging.getLogger(__name__)


class Upkeep:
    """The upkeep of the folders of a run."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[Record, ...]] = {}

    def begin(self, tools: Tools, asked: Iterable[Want]) -> None:
        """Remember what is in place, before anything is listed; the first time counts."""
        for _, place, _ in prune.pruned(asked):
            if place.root not in self._records:
                self._records[place.root] = tools.state.manifest(place.root).records()

    def stale(self, listing: Listing) -> tuple[Stale, ...]:
        """What may be removed, see ``prune``."""
        return prune.stale(listing, lambda root: self._records.get(root, ()))

    def announce(self, listing: Listing, closed: Plan, stale: Sequence[Stale]) -> None:
        """Remove the ready files of folders where something is about to change.

        Raises:
            DiskError: one cannot be removed.
        """
        if not (ready := list(_ready(listing))):
            return  # most runs: nothing is made of all their targets
        changing = {each.target for each in closed.transfers}
        for path, root, targets in ready:
            folder = os.path.dirname(path)
            if targets & changing or any(is_within(each.target, folder) for each in stale):
                _remove_ready(path, root)

    def finish(
        self, tools: Tools, listing: Listing, stale: Sequence[Stale], report: Report
    ) -> None:
        """Remove what is stale, then say that folders are ready.

        Args:
            tools: of the run.
            listing: of all wants so far.
            stale: what may be removed, and is claimed.
            report: of all rounds so far.

        Raises:
            DiskError: the file system refused.
        """
        is_whole = report.ok and not (listing.failed or listing.unreached)
        if stale and is_whole:
            _prune(tools, stale)
        if not (ready := list(_ready(listing))):
            return
        failed = {item.target for item in report.items if item.status == "failed"}
        missed = (*(want for want, _ in listing.failed), *listing.unreached)
        blocked = {place.ready for _, place in prune.with_ready(missed)}
        if not is_whole:
            blocked |= {place.ready for want, place, _ in prune.pruned(_found(listing))}
        for path, root, targets in ready:
            if path not in blocked and not targets & failed:
                write_ready(path, root, tools.state.run)


def _found(listing: Listing) -> Iterator[Want]:
    return (want for want, _ in listing.found)


def _ready(listing: Listing) -> Iterator[tuple[str, str, set[str]]]:
    """Each ready file, with its root and the targets of all items that have it."""
    found: dict[tuple[str, str], set[str]] = {}
    for want, objects in listing.found:
        for _, place in prune.with_ready((want,)):
            if place.generations:
                continue  # a snapshot has its ready file from the beginning
            targets = found.setdefault((place.ready, place.root), set())
            targets.update(want.placement.place(remote).target for remote in objects)
    for (path, root), targets in found.items():
        yield path, root, targets


def _prune(tools: Tools, stale: Iterable[Stale]) -> None:
    """Remove what is still as it was published."""
    state, state_dir = tools.state, tools.order.settings.state_dir
    state.refresh()
    removed: dict[str, list[str]] = {}
    for each in stale:
        if state.manifest(each.root).record_of(each.target) != each.record:
            continue  # it was published again
        if _remove(each):
            logger.info("removed %s: its source no longer has it", units.printable(each.target))
            removed.setdefault(each.root, []).append(each.target)
    for root, targets in removed.items():
        if is_alone(root, state_dir, state.run):
            state.manifest(root).forget(targets)


def _remove(stale: Stale) -> bool:
    """Remove a file, if it is the one that was published."""

    def remove(folder: int | None, name: str) -> bool:
        if not stale.is_same(os.stat(name, dir_fd=folder, follow_symlinks=False)):
            return False
        os.unlink(name, dir_fd=folder)
        return True

    try:
        return in_folder(stale.target, resolved(stale.root), remove)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refused("remove", stale.target, error) from error


def _remove_ready(path: str, root: str) -> None:
    try:
        in_folder(path, resolved(root), lambda folder, name: os.unlink(name, dir_fd=folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _refused("remove", path, error) from error


def write_ready(path: str, root: str, run: str) -> None:
    """Write a ready file, unless it is there."""
    if regular_file(path) is not None:
        return
    top, folder = resolved(root), os.path.dirname(path)
    try:
        open_folder(folder, top, make=True)
        temporary = os.path.join(folder, own_names.ready_part_name(run))
        documents.replace(path, (), temporary, root=top)
    except OSError as error:
        raise disk_error(error, path) from error


def _refused(what: str, path: str, error: OSError) -> DiskError:
    return DiskError(f"cannot {what} {path}: {error.strerror}; is it read-only, or another user's?")
