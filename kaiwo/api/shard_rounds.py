"""One shard of a plan: its part first; then what it knows of the others decides.

    its part     whole objects, published as ever; of an object that is cut, its ranges, into the
                 temporary file that its shards share
    its result   is written while it has the claim on the plan, and those of the others are read: so
                 of all shards that end, the last one sees all results
    it is last   the plan as a whole is carried out: all is in place, but for objects that were cut
                 and are whole now. What is not there is fetched. That is the check of the union
    it is not    objects that were cut, and are whole now, are finished

Who finishes an object that was cut resumes it like any object that a killed run has left: each
range is read back and must have the checksum that was noted for it, else it is fetched.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Container, Sequence

from msgspec.structs import replace

from kaiwo import redact, units
from kaiwo.api.places import claimed
from kaiwo.api.rounds import Rounds
from kaiwo.api.shard_plan import Home, announce, home_of, joined, still_followed
from kaiwo.api.tools import opened
from kaiwo.errors import BugError, DiskError, IntegrityError, KaiwoError, ShardError, exit_code_of
from kaiwo.events import Event, Joined, Planned, Progressed, Settled, Started, Ticked
from kaiwo.jobs import RANGE, Plan, Transfer
from kaiwo.objects import Item, Place, Report, ShardOutcome
from kaiwo.planning import plan
from kaiwo.planning.plan import Draft
from kaiwo.protocols import Sink
from kaiwo.shards import finished
from kaiwo.shards.plan_file import SharedPlan
from kaiwo.shards.results import Result
from kaiwo.shards.split import Split
from kaiwo.state.claims import Claim, targets_of
from kaiwo.state.state import State

logger = logging.getLogger(__name__)


class ShardRounds(Rounds):
    """The rounds of a shard; arguments as those of ``Rounds``."""

    _plan: SharedPlan | None = None
    _failed: ShardError | None = None
    _is_checked = False
    _own: Claim | None = None

    def run(self) -> None:
        """Carry out this shard's part of the plan."""
        if self._order.shard is None:
            raise BugError("this run is no shard")
        home = home_of(self._order, self._order.shard)
        with self._claim() as self._own:
            # Another process with the same number, which has not ended yet, is waited for.
            self._own.take(targets_of(home.places))
            with opened(self._order, self._begun_s) as tools:
                found, split, self.listing = joined(home, tools, self._sink)
                if found is None:
                    self._execute(Plan(missed=self.listing.missed), tools)
                    return
            self._plan = found
            self._sink.emit(Joined(str(home.shard)))
            announce(home, found)
            home.results(found).remove(home.shard.index)
            try:
                self._carry_out(home, found, split)
            except KaiwoError as error:
                self._write(home, found, exit_code_of(error), error.message)
                raise

    def report(self, error: KaiwoError | None = None) -> Report:
        """The report so far: of this shard's part, and of what it did for the others."""
        report = super().report(error)
        if self._order.shard is None:
            return report
        digest = "" if self._plan is None else self._plan.digest
        report = replace(report, shard=ShardOutcome(self._order.shard, digest, self._is_checked))
        if self._failed is None or not report.ok:
            return report
        return replace(report, exit_code=exit_code_of(self._failed), error=self._failed)

    def _settled(self) -> Sequence[Item]:
        """One for each object of this shard's part, and for what was done for others."""
        if not self._schedulers:
            return ()
        own, *later = [each.report().items for each in self._schedulers]
        items = {item.target or item.source: item for item in own}
        for item in (each for some in later for each in some):
            name = item.target or item.source
            mine = items.get(name)
            is_new = item.status != "unchanged" if mine is None else mine.status == "failed"
            if item.status == "failed" or is_new:
                items[name] = item
            elif mine is not None and mine.checksum is None:
                items[name] = replace(mine, checksum=item.checksum, verified=item.verified)
        return tuple(items.values())

    def _claim(self) -> Claim:
        settings = self._order.settings
        until_s = None if settings.deadline is None else self._begun_s + settings.deadline
        return Claim(secrets.token_hex(4), lambda: self._sink.emit(Ticked()), until_s)

    def _carry_out(self, home: Home, found: SharedPlan, split: Split) -> None:
        self._fetch_part(home, found, split)
        if lost := self._lost():
            self._finish_whole(found, split, lost)
        report = self.report()
        first = next((item.error for item in report.items if item.error is not None), None)
        ended = self._concluded(home, found, report.exit_code, first)
        if not report.ok:
            return
        self._sink = _Later(self._sink)
        if all(index in ended and not ended[index].exit_code for index in range(found.shards)):
            self._check_union(found, split)
        elif split.cut:
            self._finish_whole(found, split)
        report = self.report()
        if not report.ok:
            first = next((item.error for item in report.items if item.error is not None), None)
            self._write(home, found, report.exit_code, "" if first is None else first.message)
            return
        if self._is_checked:
            finished.conclude(home.results(found), found.token, home.roots)
            logger.info("shard %s was the last one: all shards together are checked", home.shard)
        self._failed = _failure(ended)
        if self._failed is not None:
            logger.error("%s", self._failed.message)

    def _fetch_part(self, home: Home, found: SharedPlan, split: Split) -> None:
        """Fetch what is this shard's."""
        with opened(self._order, self._begun_s) as tools:
            tools.state.share(found.token)
            drafted = plan.draft(self.listing, tools.state, tools.comparison)
            own = _part_of(drafted, split, home.shard.index, found.token)
            _describe(home, drafted, own)
            with claimed(tools, self._order.tasks, own, self._sink, self._make_room) as closed:
                self._upkeep.announce(self.listing, closed, ())
                self._execute(closed, tools)

    def _concluded(
        self, home: Home, found: SharedPlan, exit_code: int, error: KaiwoError | None
    ) -> dict[int, Result]:
        """Write how this shard's part ended; returns how all have ended that have.

        Raises:
            IntegrityError: the shards follow another plan now.
        """
        with self._claim() as claim:
            claim.take(targets_of((Place(home.path, home.root),)))
            if not still_followed(home, found):
                raise IntegrityError(
                    f"the plan of all shards, {home.path}, was replaced while this shard was at "
                    "work; start all shards again"
                )
            self._write(home, found, exit_code, "" if error is None else error.message)
            return home.results(found).read()

    def _write(self, home: Home, found: SharedPlan, exit_code: int, message: str) -> None:
        if exit_code and self._own is not None and self._own.is_lost:
            # It slept, and another process with its number may have done all of its part.
            logger.warning("others took shard %s for dead; its failure is not noted", home.shard)
            return
        home.results(found).write(home.shard.index, exit_code, redact.text(message))

    def _check_union(self, found: SharedPlan, split: Split) -> None:
        """Carry out the plan as a whole."""
        logger.info("shard %s: all shards are done; checking the whole", self._order.shard)
        with opened(self._order, self._begun_s) as tools:
            tools.state.share(found.token)
            drafted = plan.draft(self.listing, tools.state, tools.comparison)
            whole = _mapped(drafted, lambda each: _shared(each, split, found.token))
            self._fetch(tools, whole, self.listing)
        self._is_checked = self.report().ok

    def _lost(self) -> set[str]:
        """Targets whose parts had no place any more: another shard has published all of it."""
        failed = (each for each in self.report().items if isinstance(each.error, DiskError))
        return {each.target for each in failed if os.path.lexists(each.target)}

    def _finish_whole(self, found: SharedPlan, split: Split, lost: Container[str] = ()) -> None:
        """Finish the objects that were cut, and of which all parts are there, or were."""
        with opened(self._order, self._begun_s) as tools:
            tools.state.share(found.token)
            drafted = plan.draft(self.listing, tools.state, tools.comparison)

            def whole(transfer: Transfer) -> Transfer | None:
                shared = _shared(transfer, split, found.token)
                is_lost = transfer.index in split.cut and transfer.target in lost
                return shared if is_lost or _is_covered(shared, tools.state) else None

            cut = _mapped(replace(drafted, missed=()), whole)
            if not (cut.missing or cut.unchanged):
                return
            with claimed(tools, self._order.tasks, cut, self._sink, self._make_room) as closed:
                self._execute(closed, tools)


class _Later:
    """Passes on what happens after this shard's part: failures, requests and bytes.

    What is in place is other shards' work, or was shown already.

    Args:
        sink: gets these events.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        match event:
            case Planned() | Started():
                return
            case Progressed(_, _, _, read):
                if read:
                    self._sink.emit(Progressed(0, read=read))
            case Settled(item) if item.status != "failed":
                return
            case _:
                self._sink.emit(event)


def _mapped(drafted: Draft, take: Callable[[Transfer], Transfer | None]) -> Draft:
    """A draft of what is taken of another one."""
    missing = ((take(each), there) for each, there in drafted.missing)
    return Draft(
        tuple(each for one in drafted.unchanged if (each := take(one)) is not None),
        tuple((each, there) for each, there in missing if each is not None),
        drafted.missed,
    )


def _part_of(drafted: Draft, split: Split, shard: int, token: str) -> Draft:
    """What is a shard's of a draft."""

    def own(transfer: Transfer) -> Transfer | None:
        if split.is_whole(transfer.index, shard):
            return transfer
        part = split.part(transfer.index, shard)
        return None if part is None else replace(transfer, run=token, part=part, published=False)

    # A file that has come to its target since the plan was made is checked by who finishes it.
    left = tuple(
        (each, there)
        for each, there in drafted.missing
        if there is None or each.index not in split.cut
    )
    return _mapped(replace(drafted, missing=left), own)


def _shared(transfer: Transfer, split: Split, token: str) -> Transfer:
    """The whole object, with the temporary file of all shards if it was cut."""
    return replace(transfer, run=token) if transfer.index in split.cut else transfer


def _is_covered(transfer: Transfer, state: State) -> bool:
    """Whether all parts of an object that was cut are in its temporary file."""
    partial = state.partial_download(transfer) if state.is_shared(transfer) else None
    if partial is None:
        return False
    size = transfer.object.size
    return all(
        start in partial.marks and partial.marks[start].end == min(start + RANGE, size)
        for start in range(0, size, RANGE)
    )


def _describe(home: Home, drafted: Draft, own: Draft) -> None:
    """Say what is this shard's."""
    mine = [*own.unchanged, *(each for each, _ in own.missing)]
    total = [*drafted.unchanged, *(each for each, _ in drafted.missing)]
    logger.info(
        "shard %s: %d of %s, %s of %s",
        home.shard,
        len(mine),
        units.count(len(total), "object"),
        units.size(sum(each.length for each in mine)),
        units.size(sum(each.object.size for each in total)),
    )


def _failure(ended: dict[int, Result]) -> ShardError | None:
    """The failure of another shard, if one is known."""
    failed = {index: result for index, result in ended.items() if result.exit_code}
    if not failed:
        return None
    index, result = min(failed.items())
    why = f": {units.printable(result.message)}" if result.message else ""
    return ShardError(
        f"this shard's part is done, but shard {index} ended with exit code "
        f"{result.exit_code}{why}; start that one again",
        result.exit_code,
    )
