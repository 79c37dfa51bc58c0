"""A run, from an order to a report: list, claim, plan, execute, settle."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import environment, redact, units
from kaiwo.api.orders import Order, Wanted, order_of
from kaiwo.config.loader import Config
from kaiwo.config.settings import Settings
from kaiwo.engine.request_budget import memory_budget
from kaiwo.engine.request_limit import MOST
from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.rules import Rules
from kaiwo.engine.scheduler import Scheduler
from kaiwo.engine.service_health import LEAST_LOST, ServiceHealth
from kaiwo.errors import DiskError, UnsafeNameError, cause_of, exit_code_of
from kaiwo.events import Ended, Ticked
from kaiwo.files import memory_limit, process_limits
from kaiwo.files.kept_folders import kept_open
from kaiwo.jobs import Plan, Want
from kaiwo.net import proxies
from kaiwo.objects import Report
from kaiwo.planning import free_space, plan
from kaiwo.planning.decision import Decision
from kaiwo.planning.gather import Listing, gather
from kaiwo.planning.plan import Comparison, Draft
from kaiwo.protocols import Sink
from kaiwo.state.claims import Claim, is_alone, is_claiming, targets_of
from kaiwo.state.folder import claims_folder
from kaiwo.state.state import State
from kaiwo.tasks.base import Task
from kaiwo.workers.source_cache import close_source
from kaiwo.workers.threads import ENDS_IN_S, WorkerThreads

#: Removes what is not needed, to make room for what a plan will fetch; may refuse it.
MakeRoom = Callable[[Plan], None]
logger = logging.getLogger(__name__)


class Done(Struct, frozen=True):
    """What a run did, and what its listings had found."""

    report: Report
    listing: Listing


@environment.cleaned(proxies.canonical)
def run(config: Config, sink: Sink) -> Report:
    """Carry out a validated configuration; see ``download``."""
    return carry_out(order_of(config), sink).report


def decide(order: Order, sink: Sink) -> Decision:
    """What ``carry_out`` would do, decided and checked; no byte of any object is read.

    Names and places that may not be are an error of the decision.
    """
    labels = tuple(dict.fromkeys(task.label for task, _ in order.tasks))
    with _tools(order) as tools:
        listing = _listed(tools, order.asked, sink)
        try:
            drafted = plan.draft(listing, tools.state, tools.comparison)
        except UnsafeNameError as error:
            return Decision(labels, Plan(missed=listing.missed), error=error)
        closed = plan.close(drafted, tools.state, tools.comparison)
        rooms, shortage = free_space.rooms(closed.transfers)
        try:
            _require_writable(order.tasks, closed)
        except DiskError as error:
            shortage = error
        return Decision(labels, closed, rooms, shortage)


def _require_place(tasks: Iterable[Wanted], closed: Plan) -> None:
    """Return if everything that is to be fetched has a place, as far as that is known.

    Raises:
        DiskError: it cannot be written there, or there is not enough space.
    """
    _require_writable(tasks, closed)
    free_space.require(closed.transfers)


def _require_writable(tasks: Iterable[Wanted], closed: Plan) -> None:
    to_fetch = [each for each in closed.transfers if not each.present]
    for task, wants in tasks:
        if type(task).require_writable is Task.require_writable:
            continue
        openers = {want.opener for want in wants}
        task.require_writable([each for each in to_fetch if each.opener in openers])


def list_all(order: Order, sink: Sink) -> Listing:
    """What the order asks for, as it is listed.

    Raises:
        KaiwoError: something cannot be listed, or is not there.
    """
    with _tools(order) as tools:
        listing = _listed(tools, order.asked, sink)
    if listing.failed:
        raise listing.failed[0][1]
    return listing


class _Tools(Struct, frozen=True):
    """What a run works with."""

    settings: Settings
    wants: Sequence[Want]
    rules: Rules
    health: ServiceHealth
    comparison: Comparison
    state: State
    executor: WorkerThreads

    def end(self) -> None:
        """Nothing of the run opens, writes or publishes anything afterwards; may be repeated."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        # Closing a source ends the requests that threads wait for.
        for want in self.wants:
            close_source(want.opener)
        self.executor.join(ENDS_IN_S)


@contextlib.contextmanager
def _tools(order: Order) -> Iterator[_Tools]:
    """An executor and the state; afterwards everything that was opened is closed."""
    settings = order.settings
    rules = Rules(
        settings.max_workers,
        RetryPolicy(settings.retries, settings.startup_wait),
        settings.verify == "checksum",
        settings.fail_fast,
        None if settings.deadline is None else time.monotonic() + settings.deadline,
        memory_budget(memory_limit.memory_limit()),
        process_limits.most_requests(),
        settings.max_bandwidth,
    )
    comparison = Comparison(settings.force, rules.verify, settings.fsync)
    wants = [want for _, wants in order.tasks for want in wants]
    state = State(settings.state_dir, secrets.token_hex(4), checked=rules.verify)
    if rules.most_requests is not None and rules.most_requests < (rules.workers or MOST):
        logger.info(
            "at most %s at once: the limits of this process (ulimit -n, ulimit -v) allow no more",
            units.count(rules.most_requests, "request"),
        )
    health = ServiceHealth(max(rules.workers or 0, LEAST_LOST))
    executor = WorkerThreads(rules.threads, "kaiwo")
    tools = _Tools(settings, wants, rules, health, comparison, state, executor)
    with redact.cleaning_log_records(), kept_open():
        try:
            yield tools
        finally:
            tools.end()
            state.close()


def _listed(tools: _Tools, asked: Sequence[Want], sink: Sink) -> Listing:
    rules = tools.rules
    return gather(
        asked,
        tools.executor,
        rules.workers,
        rules.policy,
        tools.health,
        sink,
        rules.until_s,
        rules.requests,
        (lambda _: ()) if tools.comparison.force else tools.state.answers,
    )


@contextlib.contextmanager
def _claimed(
    tools: _Tools, tasks: Iterable[Wanted], drafted: Draft, sink: Sink, make_room: MakeRoom
) -> Iterator[Plan]:
    """The closed plan, once no other run is at its targets; until the end, none will be.

    What another run put in place meanwhile need not be fetched; what it left unfinished is resumed
    or removed. Only then is it known how much space is needed.

    Raises:
        DiskError: see ``_require_place``.
        DeadlineError: other runs are still at the targets.
    """
    state, state_dir, until_s = tools.state, tools.settings.state_dir, tools.rules.until_s

    def is_dead(root: str, run: str) -> bool:
        return not is_claiming(root, state_dir, run)

    with Claim(state.run, lambda: sink.emit(Ticked()), until_s) as claim:
        waited = claim.take(targets_of((each for each, _ in drafted.missing), state_dir))
        # Another run may have ended right before its claim could be seen.
        others_worked = state.refresh() or waited
        closed = plan.close(drafted, state, tools.comparison, recheck=others_worked)
        transfers = (*closed.transfers, *closed.unchanged)
        claim.tidy(claims_folder(root, state_dir) for root in {each.root for each in transfers})
        state.sweep(transfers, is_dead)
        make_room(closed)
        _require_place(tasks, closed)
        try:
            yield closed
        finally:
            # Before another run may take these targets.
            tools.end()
        state.sweep(transfers, is_dead)
        state.compact(lambda root: is_alone(root, state_dir, state.run))
        # After a deadline, a worker may still be in a call that nothing ends.
        state.close(ended=until_s is None or time.monotonic() < until_s)


def carry_out(
    order: Order, sink: Sink, make_room: MakeRoom = lambda _: None, *, raises: bool = False
) -> Done:
    """List, claim, close the plan, execute it, settle the tasks.

    However the run ends, the sink gets an ``Ended`` with the report so far.

    Args:
        order: what to do.
        sink: gets the events.
        make_room: is called with the plan before it is checked that there is room for it.
        raises: with ``fail_fast``, the error of a listing is raised, and is not in a report.
    """
    start_s, started_at_s = time.monotonic(), time.time()
    scheduler: Scheduler | None = None
    with _tools(order) as tools:
        try:
            listing = _listed(tools, order.asked, sink)
            if _ends(listing, tools, raises=raises):
                scheduler = _scheduler(tools, Plan(missed=listing.missed), sink)
                report = scheduler.run()
            else:
                drafted = plan.draft(listing, tools.state, tools.comparison)
                with _claimed(tools, order.tasks, drafted, sink, make_room) as closed:
                    _remember_answers(listing, closed, tools.state)
                    scheduler = _scheduler(tools, closed, sink)
                    report = scheduler.run()
                    _settle(order.tasks, closed, listing, report)
            seconds = time.monotonic() - start_s
            report = replace(report, seconds=seconds, started_at_s=started_at_s)
            # Inside ``try``: a signal that arrives now still ends in a report.
            sink.emit(Ended(report))
        except BaseException as error:
            cause = cause_of(error)
            so_far = scheduler.report(cause) if scheduler else Report(exit_code_of(cause), 0.0)
            seconds = time.monotonic() - start_s
            ended = replace(so_far, seconds=seconds, started_at_s=started_at_s, error=cause)
            sink.emit(Ended(ended))
            raise
    return Done(report, listing)


def _ends(listing: Listing, tools: _Tools, *, raises: bool) -> bool:
    """Whether the run ends after its listing."""
    if not (listing.failed and tools.rules.fail_fast):
        return False
    if raises:
        raise listing.failed[0][1]
    return True


def _scheduler(tools: _Tools, closed: Plan, sink: Sink) -> Scheduler:
    return Scheduler(closed, tools.executor, tools.rules, tools.state, sink, tools.health)


def _remember_answers(listing: Listing, closed: Plan, state: State) -> None:
    """Let later runs know what stores answered; no folder is made for that alone."""
    roots = {each.root for each in (*closed.transfers, *closed.unchanged)}
    for want, answers in listing.answers:
        state.remember_answers(want, answers, roots)


def _settle(tasks: Iterable[Wanted], closed: Plan, listing: Listing, report: Report) -> None:
    """Let each task whose objects are all in place finish what is left to do."""
    failed = {item.target for item in report.items if item.status == "failed"}
    missed = {want.opener for want, _ in listing.failed}
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
