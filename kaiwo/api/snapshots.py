"""A snapshot becomes visible as a whole: from its listing to the switch of its link.

before the listings    what is in place, so that nothing newer is ever taken for gone
the link is claimed    the next generation begins, or is continued
all is in place        what did not change is linked into it; then the link is switched
something failed       the link stays, and a later run continues the generation

A file in the next generation is right when its object is settled: it was published there, or it was
found right, or else it is not there and the file at the target is right.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec.structs import replace

from kaiwo import units
from kaiwo.api.generation_files import keep_only
from kaiwo.api.tools import Tools
from kaiwo.api.upkeep import write_ready
from kaiwo.errors import DiskError, UnfinishedError
from kaiwo.files import generations, second_names
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, open_folder, resolved
from kaiwo.files.paths import regular_file
from kaiwo.files.placement import next_path
from kaiwo.files.publish import sync
from kaiwo.files.temporary_files import discard
from kaiwo.jobs import Plan, Transfer, Want
from kaiwo.objects import Item, same_bytes
from kaiwo.planning import snapshots
from kaiwo.planning.gather import Listing
from kaiwo.planning.plan import Draft
from kaiwo.planning.snapshots import Snapshot, below_of
from kaiwo.state.claims import is_alone
from kaiwo.state.records import Record

logger = logging.getLogger(__name__)


class Snapshots:
    """The snapshots of a run."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[Record, ...]] = {}
        #: Those whose next generation was begun, with the number of the current one.
        self._begun: dict[str, tuple[Snapshot, int | None]] = {}
        #: Why none could be begun of those where perhaps none is needed.
        self._refused: dict[str, DiskError] = {}

    def begin(self, tools: Tools, asked: Iterable[Want]) -> None:
        """Remember what is in place, before anything is listed; the first time counts."""
        for _, place in snapshots.in_snapshots(asked):
            if place.root not in self._records:
                self._records[place.root] = tools.state.manifest(place.root).records()

    def listed(self, listing: Listing) -> tuple[Snapshot, ...]:
        """The snapshots of a listing.

        Args:
            listing: of the wants that are planned together.
        """
        if not self._records:
            return ()
        return snapshots.snapshots(listing, lambda root: self._records.get(root, ()))

    def open(self, tools: Tools, changing: Iterable[Snapshot], closed: Plan) -> None:
        """Let there be a next generation of each of these.

        Args:
            tools: of the run.
            changing: whose links are claimed.
            closed: the plan.

        Raises:
            DiskError: it cannot be written.
        """
        if not (changing := tuple(changing)):
            return
        fetched = {one.target: one for one in closed.transfers}
        for each in changing:
            transfers = [fetched[target] for target in each.files & fetched.keys()]
            current = generations.number_of(each.target)
            is_begun = generations.has_next(each.target)
            if not (transfers or each.gone or current is None or is_begun):
                continue  # another run has done it meanwhile
            tools.state.manifest(each.root).settle()
            root = resolved(each.root)
            try:
                generations.begin(each.target, root)
                if is_begun and each.is_whole:  # of another listing, perhaps
                    keep_only(generations.require_next(each.target, root), _names(each, each.files))
            except DiskError as error:
                if not (transfers and all(one.present for one in transfers)):
                    raise
                self._refused[each.target] = error  # perhaps all files are right
            self._begun[each.target] = each, current

    def finish(
        self, tools: Tools, listed: Iterable[Snapshot], closed: Plan, items: Sequence[Item]
    ) -> None:
        """Switch the links of snapshots that are whole.

        Args:
            tools: of the run.
            listed: the snapshots of this round.
            closed: the plan of this round.
            items: of all rounds so far.

        Raises:
            DiskError: the file system refused; what was not switched is as it was.
        """
        if not (listed := tuple(listed)):
            return
        there = {item.target: item.status for item in items if item.status != "failed"}
        failed = {item.target for item in items} - there.keys()
        planned = {one.target: one for one in (*closed.transfers, *closed.unchanged)}
        for each in listed:
            if not each.is_whole or each.files & failed:
                self._leave(each)
                continue
            # An object that turned out to be no file is not there, and has not failed.
            targets = each.files & there.keys() & planned.keys()
            transfers = [planned[target] for target in targets]
            unchanged = {target for target in targets if there[target] == "unchanged"}
            if each.target in self._begun:
                self._end(tools, each, transfers, unchanged, closed)
            if each.place.ready and generations.number_of(each.target) is not None:
                write_ready(each.place.ready, each.root, tools.state.run)
            tools.state.manifest(each.root).settle()
            _forget_gone(tools, each)

    def as_visible(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items, where those that are in a next generation only are not in place."""
        if not self._begun:
            return items
        owners = {target: each for each, _ in self._begun.values() for target in each.files}
        return [_as_visible(item, owners.get(item.target)) for item in items]

    def _leave(self, snapshot: Snapshot) -> None:
        """Leave a generation for a later run, if there is anything in it."""
        if (refused := self._refused.get(snapshot.target)) is not None:
            logger.warning("%s", refused.message)
        number = generations.number_of(snapshot.target, next_path(snapshot.target))
        if number is None or snapshot.target not in self._begun:
            return
        if not os.path.lexists(generations.path_of(snapshot.target, number)):
            _abandon(snapshot)
        logger.warning(
            "%s stays as it is: not all of its next generation is in place",
            units.printable(snapshot.target),
        )

    def _end(
        self,
        tools: Tools,
        snapshot: Snapshot,
        transfers: Sequence[Transfer],
        unchanged: Collection[str],
        closed: Plan,
    ) -> None:
        """Switch a link, if anything has changed."""
        current = self._begun[snapshot.target][1]
        known = {each.target for each in closed.unchanged}
        staged = [each for each in transfers if _is_staged(tools, each, known)]
        new = {each.target for each in staged}
        old = [each for each in transfers if each.target not in new]
        for each in old:
            is_lost = current is None or each.target not in unchanged
            if is_lost or (each.target in known and not _is_at_target(tools, each)):
                raise DiskError(
                    f"{each.target} was changed while kaiwo was at work there, so nothing is "
                    "switched; run it again"
                )
        if not (staged or snapshot.gone or current is None):
            _abandon(snapshot)
            del self._begun[snapshot.target]
            return
        root, durable = resolved(snapshot.root), tools.order.settings.fsync
        generation = generations.require_next(snapshot.target, root)
        folder = generation.path
        for each in old:
            source = generations.path_of(snapshot.target, current or 0)
            below = each.target[len(snapshot.target) :]
            _give(f"{source}{below}", f"{folder}{below}", root, durable=durable)
        if snapshot.place.ready:
            below = snapshot.place.ready[len(snapshot.target) :]
            write_ready(f"{folder}{below}", snapshot.root, tools.state.run)
        names = _names(snapshot, (each.target for each in transfers))
        for name in keep_only(generation, names, parts=False):
            text = "is gone: something else than kaiwo changes that folder"
            raise DiskError(f"{folder}/{name} {text}")
        if generations.number_of(snapshot.target) != current:
            raise DiskError(
                f"{snapshot.target} leads elsewhere since this run began, so it is not switched; "
                "run it again"
            )
        generations.switch(snapshot.target, root, durable=durable)
        del self._begun[snapshot.target]
        logger.info(
            "%s has a new generation: %s, of which %d did not change",
            units.printable(snapshot.target),
            units.count(len(transfers), "file"),
            len(old),
        )
        tools.state.manifest(snapshot.root).settle(staged)
        generations.remove_old(snapshot.target, root, snapshot.place.generations, current)


def _is_staged(tools: Tools, transfer: Transfer, known: Collection[str]) -> bool:
    """Whether the next generation's file is the right one."""
    status = regular_file(transfer.destination)
    if status is None or transfer.target not in known:
        return status is not None
    # What another run has left there counts only if it is known, and needed.
    record = tools.state.manifest(transfer.root).find_staged(transfer, status)
    return record is not None and not _is_at_target(tools, transfer)


def changing(listed: Iterable[Snapshot], drafted: Draft) -> tuple[Snapshot, ...]:
    """The snapshots that may get a new generation: their links are claimed."""
    listed = tuple(listed)
    missing = {transfer.target for transfer, _ in drafted.missing if listed}
    return tuple(each for each in listed if each.may_change(missing))


def _as_visible(item: Item, snapshot: Snapshot | None) -> Item:
    if snapshot is None or item.status == "failed":
        return item
    below = item.target[len(snapshot.target) :]
    if not os.path.lexists(f"{next_path(snapshot.target)}{below}"):
        return item
    text = f"{item.source}: is not at the target, because the snapshot is not whole; the next run "
    return replace(item, status="failed", error=UnfinishedError(f"{text}continues"))


def _forget_gone(tools: Tools, snapshot: Snapshot) -> None:
    """Forget the files that were in earlier generations only."""
    manifest = tools.state.manifest(snapshot.root)
    below = below_of(snapshot.place, manifest.records())
    gone = [each for each in below if each not in snapshot.files and not os.path.lexists(each)]
    if gone and is_alone(snapshot.root, tools.order.settings.state_dir, tools.state.run):
        manifest.forget(gone)


def _abandon(snapshot: Snapshot) -> None:
    try:
        generations.abandon(snapshot.target, resolved(snapshot.root))
    except OSError as error:
        logger.debug("%s", disk_error(error, snapshot.target).message)


def _is_at_target(tools: Tools, transfer: Transfer) -> bool:
    """Whether the file at the target is known to be right."""
    if (status := regular_file(transfer.target)) is None:
        return False
    record = tools.state.manifest(transfer.root).find(transfer, status)
    return record is not None and same_bytes(record.object, transfer.object) is not False


def _give(source: str, path: str, root: Root, *, durable: bool) -> None:
    """Link an unchanged file into the next generation."""
    try:
        discard(path, root)
        open_folder(os.path.dirname(path), root, make=True)
        second_names.give(source, path, root, durable=durable)
        if durable:
            sync(path, root)
    except OSError as error:
        raise disk_error(error, path) from error


def _names(snapshot: Snapshot, targets: Iterable[str]) -> Iterator[str]:
    """What the next generation holds: paths, relative to it."""
    for path in (*targets, snapshot.place.ready):
        if path:
            yield path[len(snapshot.target) + 1 :]
