"""A run, from an order to a report: list, claim, plan, execute, settle."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor

from msgspec import Struct

from kaiwo import environment
from kaiwo.api.carrying import carrying, require_one
from kaiwo.api.orders import Order, Wanted, order_of
from kaiwo.api.places import MakeRoom, claimed, require_writable
from kaiwo.api.snapshots import Snapshots, changing
from kaiwo.api.tools import Tools, listed, opened
from kaiwo.api.upkeep import Upkeep
from kaiwo.config.loader import Config
from kaiwo.engine.scheduler import Scheduler
from kaiwo.errors import (
    DiskError,
    KaiwoError,
    UnfinishedError,
    UnsafeNameError,
    cause_of,
    exit_code_of,
    first_exit_code,
)
from kaiwo.events import Ended, Settled
from kaiwo.jobs import Plan, Want
from kaiwo.net import proxies
from kaiwo.objects import Item, Report
from kaiwo.planning import free_space, plan
from kaiwo.planning.decision import Decision
from kaiwo.planning.gather import Listing
from kaiwo.planning.snapshots import require_places
from kaiwo.protocols import Sink
from kaiwo.state.claims import Claimable
from kaiwo.state.state import State
from kaiwo.tasks.base import Task

#: What can be fetched waits this long for services that cannot be reached.
UNREACHED_S = 5.0
logger = logging.getLogger(__name__)


class Done(Struct, frozen=True):
    """What a run did, and what its listings had found."""

    report: Report
    listing: Listing


@environment.cleaned(proxies.canonical)
def run(config: Config, sink: Sink, executor: Executor | None = None) -> Report:
    """Carry out a validated configuration; see ``download``."""
    return carry_out(order_of(config), sink, executor=executor).report


def decide(order: Order, sink: Sink) -> Decision:
    """What ``carry_out`` would do, decided and checked; no byte of any object is read.

    Names and places that may not be are an error of the decision.
    """
    labels = tuple(dict.fromkeys(task.label for task, _ in order.tasks))
    upkeep, snapshots = Upkeep(), Snapshots()
    with opened(order, time.monotonic()) as tools:
        upkeep.begin(tools, order.asked)
        snapshots.begin(tools, order.asked)
        listing = listed(tools, order.asked, sink)
        try:
            require_places(listing)
            drafted = plan.draft(listing, tools.state, tools.comparison)
        except UnsafeNameError as error:
            return Decision(labels, Plan(missed=listing.missed), error=error)
        closed = plan.close(drafted, tools.state, tools.comparison)
        rooms, shortage = free_space.rooms(closed.transfers)
        try:
            require_writable(order.tasks, closed)
        except DiskError as error:
            shortage = error
        switches = changing(snapshots.listed(listing), drafted)
        return Decision(labels, closed, rooms, shortage, upkeep.stale(listing), switches)


def list_all(order: Order, sink: Sink) -> Listing:
    """What the order asks for, as it is listed.

    Raises:
        KaiwoError: something cannot be listed, or is not there.
    """
    with opened(order, time.monotonic()) as tools:
        listing = listed(tools, order.asked, sink)
    if listing.failed:
        raise listing.failed[0][1]
    return listing


def carry_out(
    order: Order,
    sink: Sink,
    make_room: MakeRoom = lambda _: None,
    *,
    raises: bool = False,
    executor: Executor | None = None,
) -> Done:
    """List, claim, close the plan, execute it, settle the tasks.

    However the run ends, the sink gets an ``Ended`` with the report so far.

    Args:
        order: what to do.
        sink: gets the events.
        make_room: is called with the plan before it is checked that there is room for it.
        raises: with ``fail_fast``, the error of a listing is raised, and is not in a report.
        executor: moves the bytes; None: threads of this process.
    """
    rounds = _Rounds(order, sink, make_room, executor, raises=raises)
    try:
        require_one(order, executor)
        rounds.run()
        report = rounds.report()
        # Inside ``try``: a signal that arrives now still ends in a report.
        sink.emit(Ended(report))
    except BaseException as error:
        sink.emit(Ended(rounds.report(cause_of(error))))
        raise
    return Done(report, rounds.listing)


class _Rounds:
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
        order, sink = self._order, self._sink
        with opened(order, self._begun_s) as tools:
            self._upkeep.begin(tools, asked)
            self._snapshots.begin(tools, asked)
            listing = listed(tools, asked, sink, patience_s)
            for service in {want.opener.service for want in listing.unreached}:
                logger.warning("%s cannot be reached yet; all else is fetched first", service)
            self.listing = _joined(self.listing, listing)
            if self._ends(listing):
                self._execute(Plan(missed=listing.missed), tools)
                return listing.unreached
            # A want may have turned out to be another one, of another opener.
            found = [want for want, _ in listing.found]
            require_places(self.listing)
            drafted = plan.draft(self.listing, tools.state, tools.comparison, of=found)
            stale, snapshots = self._upkeep.stale(self.listing), self._snapshots.listed(listing)
            switches = changing(snapshots, drafted)
            also: tuple[Claimable, ...] = (*stale, *switches)
            with claimed(tools, order.tasks, drafted, sink, self._make_room, also) as closed:
                self._snapshots.open(tools, switches, closed)
                self._upkeep.announce(self.listing, closed, stale)
                _remember_answers(listing, closed, tools.state)
                report = self._execute(closed, tools)
                _settle(_of(order.tasks, found), closed, self.listing, report)
                self._snapshots.finish(tools, snapshots, closed, self._settled())
                self._upkeep.finish(tools, self.listing, stale, self.report())
        return listing.unreached

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
