"""The rounds of a run: list, claim, close the plan, execute it, settle the tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor

from kaiwo.api.carrying import carrying
from kaiwo.api.orders import Order, Wanted
from kaiwo.api.places import MakeRoom, claimed
from kaiwo.api.snapshots import Snapshots, changing
from kaiwo.api.tools import Tools, listed, opened
from kaiwo.api.upkeep import Upkeep
from kaiwo.engine.scheduler import Scheduler
from kaiwo.errors import KaiwoError, UnfinishedError, exit_code_of, first_exit_code
from kaiwo.events import Settled
from kaiwo.jobs import Plan, Want
from kaiwo.objects import Item, Report
from kaiwo.planning import plan
from kaiwo.planning.gather import Listing
from kaiwo.planning.plan import Draft
from kaiwo.planning.snapshots import require_places
from kaiwo.protocols import Sink
from kaiwo.state.claims import Claimable
from kaiwo.state.state import State
from kaiwo.tasks.base import Task

#: What can be fetched waits this long for services that cannot be reached.
UNREACHED_S = 5.0
logger = logging.getLogger(__name__)


class Rounds:
    """The rounds of a run: one, or two where a service cannot be reached while others can.

    What can be fetched does not wait for that service: it is listed again afterwards, and what is
    found there is planned beside all else. See docs/decisions/0053.

    Args:
        order: see ``carry_out``.
        sink: as above.
        make_room: as above.
        executor: as above.
        raises: as above.

    Attributes:
        listing: what was listed so far.
    """

    def __init__(
        self,
        order: Order,
        sink: Sink,
        make_room: MakeRoom,
        executor: Executor | None,
        *,
        raises: bool,
    ) -> None:
        self.listing = Listing()
        self._order, self._sink, self._make_room = order, sink, make_room
        self._executor = executor
        self._raises = raises
        self._begun_s, self._started_at_s = time.monotonic(), time.time()
        self._schedulers: list[Scheduler] = []
        self._left: Sequence[Item] = ()
        self._upkeep, self._snapshots = Upkeep(), Snapshots()

    def run(self) -> None:
        """Carry out the order."""
        left = self._round(self._order.asked, UNREACHED_S)
        if self._order.settings.fail_fast and not self.report().ok:
            self._leave(left)
        elif left:
            self._round(left, None)
        if self._order.settings.write_lock and (report := self.report()).ok:
            from kaiwo.api.locking import write_after  # noqa: PLC0415 - few runs have a lock

            write_after(self._order, self.listing, report)

    def _leave(self, left: Sequence[Want]) -> None:
        """After a failure, none of this is attempted."""
        error = UnfinishedError("not attempted: another object failed")
        failed = Listing(failed=tuple((want, error) for want in left))
        self.listing = _joined(self.listing, failed)
        self._left = failed.missed
        for item in self._left:
            self._sink.emit(Settled(item))

    def _round(self, asked: Sequence[Want], patience_s: float | None) -> tuple[Want, ...]:
        """Fetch what is listed of these; returns those that were left for the next round."""
        order = self._order
        with opened(order, self._begun_s) as tools:
            self._upkeep.begin(tools, asked)
            self._snapshots.begin(tools, asked)
            listing = self._list(tools, asked, patience_s)
            for service in {want.opener.service for want in listing.unreached}:
                logger.warning("%s cannot be reached yet; all else is fetched first", service)
            self.listing = _joined(self.listing, listing)
            if self._ends(listing):
                self._execute(Plan(missed=listing.missed), tools)
                return listing.unreached
            require_places(self.listing)
            # A want may have turned out to be another one, of another opener.
            found = [want for want, _ in listing.found]
            drafted = plan.draft(self.listing, tools.state, tools.comparison, of=found)
            self._fetch(tools, drafted, listing)
        return listing.unreached

    def _list(self, tools: Tools, asked: Sequence[Want], patience_s: float | None) -> Listing:
        """See ``tools.listed``."""
        return listed(tools, asked, self._sink, patience_s)

    def _fetch(self, tools: Tools, drafted: Draft, listing: Listing) -> None:
        """Claim, close and execute the plan of a round, then settle the tasks.

        Args:
            tools: of the run.
            drafted: the plan.
            listing: what was listed for it.
        """
        tasks, found = self._order.tasks, [want for want, _ in listing.found]
        stale, snapshots = self._upkeep.stale(self.listing), self._snapshots.listed(listing)
        switches = changing(snapshots, drafted)
        also: tuple[Claimable, ...] = (*stale, *switches)
        with claimed(tools, tasks, drafted, self._sink, self._make_room, also) as closed:
            self._snapshots.open(tools, switches, closed)
            self._upkeep.announce(self.listing, closed, stale)
            _remember_answers(listing, closed, tools.state)
            report = self._execute(closed, tools)
            _settle(_of(tasks, found), closed, self.listing, report)
            self._snapshots.finish(tools, snapshots, closed, self._settled())
            self._upkeep.finish(tools, self.listing, stale, self.report())

    def _ends(self, listing: Listing) -> bool:
        """Whether the run ends after this listing."""
        if not (listing.failed and self._order.settings.fail_fast):
            return False
        if self._raises:
            raise listing.failed[0][1]
        return True

    def _execute(self, closed: Plan, tools: Tools) -> Report:
        with carrying(tools, closed, self._executor) as where:
            rules, state, health = tools.rules, tools.state, tools.health
            scheduler = Scheduler(
                closed, where.executor, rules, state, self._sink, health, where.machines
            )
            self._schedulers.append(scheduler)
            return scheduler.run()

    def report(self, error: KaiwoError | None = None) -> Report:
        """The report so far.

        Args:
            error: what ended the run before all was done; it decides the exit code.
        """
        items = self._snapshots.as_visible(self._settled())
        codes = [item.error.exit_code for item in items if item.error is not None]
        return Report(
            first_exit_code(codes) if error is None else exit_code_of(error),
            time.monotonic() - self._begun_s,
            sum(each.report().transferred_bytes for each in self._schedulers),
            items,
            error,
            self._started_at_s,
        )

    def _settled(self) -> Sequence[Item]:
        """What became of each object, also of those that no link leads to yet."""
        items = (item for each in self._schedulers for item in each.report().items)
        return (*items, *self._left)


def _joined(earlier: Listing, listing: Listing) -> Listing:
    """The listings of two rounds; what was left by the first one is in the second one."""
    return Listing(
        earlier.found + listing.found,
        earlier.failed + listing.failed,
        earlier.answers + listing.answers,
        listing.unreached,
        listing.locked,
    )


def _of(tasks: Iterable[Wanted], asked: Iterable[Want]) -> Iterator[Wanted]:
    """The tasks that want something of this."""
    openers = {want.opener for want in asked}
    return (each for each in tasks if any(want.opener in openers for want in each[1]))


def _remember_answers(listing: Listing, closed: Plan, state: State) -> None:
    """Let later runs know what stores answered; no folder is made for that alone."""
    roots = {each.root for each in (*closed.transfers, *closed.unchanged)}
    for want, answers in listing.answers:
        state.remember_answers(want, answers, roots)


def _settle(tasks: Iterable[Wanted], closed: Plan, listing: Listing, report: Report) -> None:
    """Let each task whose objects are all in place finish what is left to do."""
    failed = {item.target for item in report.items if item.status == "failed"}
    missed = {want.opener for want, _ in listing.failed}
    missed |= {want.opener for want in listing.unreached}
    for task, wants in tasks:
        openers = {want.opener for want in wants}
        if type(task).settle is Task.settle or openers & missed:
            continue
        # By target: what several tasks ask for alike is in the plan once.
        targets = {
            want.placement.place(remote).target
            for want, objects in listing.found
            if want.opener in openers
            for remote in objects
        }
        if not targets & failed:
            transfers = (*closed.transfers, *closed.unchanged)
            task.settle([each for each in transfers if each.target in targets])
