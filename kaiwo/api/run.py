"""A run, from an order to a report: list, claim, plan, execute, settle."""

from __future__ import annotations

import time
from concurrent.futures import Executor

from msgspec import Struct

from kaiwo import environment
from kaiwo.api.carrying import require_one
from kaiwo.api.orders import Order, as_shard, order_of
from kaiwo.api.places import MakeRoom, require_writable
from kaiwo.api.rounds import Rounds
from kaiwo.api.snapshots import Snapshots, changing
from kaiwo.api.tools import listed, opened
from kaiwo.api.upkeep import Upkeep
from kaiwo.config.loader import Config
from kaiwo.errors import DiskError, UnsafeNameError, cause_of
from kaiwo.events import Ended
from kaiwo.jobs import Plan
from kaiwo.net import proxies
from kaiwo.objects import Report
from kaiwo.planning import free_space, plan
from kaiwo.planning.decision import Decision
from kaiwo.planning.gather import Listing
from kaiwo.planning.snapshots import require_places
from kaiwo.protocols import Sink


class Done(Struct, frozen=True):
    """What a run did, and what its listings had found."""

    report: Report
    listing: Listing


@environment.cleaned(proxies.canonical)
def run(config: Config, sink: Sink, executor: Executor | None = None) -> Report:
    """Carry out a validated configuration; see ``download``."""
    return carry_out(as_shard(order_of(config)), sink, executor=executor).report


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


def _rounds(
    order: Order, sink: Sink, make_room: MakeRoom, executor: Executor | None, *, raises: bool
) -> Rounds:
    if order.settings.replicate:
        from kaiwo.api.replica_rounds import ReplicaRounds  # noqa: PLC0415 - few have nodes

        return ReplicaRounds(order, sink, make_room, executor, raises=raises)
    if order.shard is None:
        return Rounds(order, sink, make_room, executor, raises=raises)
    from kaiwo.api.shard_rounds import ShardRounds  # noqa: PLC0415 - few runs are shards

    return ShardRounds(order, sink, make_room, executor, raises=raises)


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
    rounds = _rounds(order, sink, make_room, executor, raises=raises)
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
