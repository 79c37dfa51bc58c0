"""A run, from validated tasks to a report: list, claim, plan, execute, settle."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.config.loader import Config
from kaiwo.config.settings import Settings
from kaiwo.engine import scheduler
from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.scheduler import Rules
from kaiwo.errors import ConfigError, KaiwoError, exit_code_of
from kaiwo.events import Ended, Ticked
from kaiwo.jobs import Plan, Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import Report
from kaiwo.planning import free_space, plan
from kaiwo.protocols import Sink
from kaiwo.state.claims import Claim, claims_folder, is_claiming, places
from kaiwo.state.state import State
from kaiwo.tasks.base import Context, Task
from kaiwo.workers import source_cache

#: A task, and what it wants.
Wanted = tuple[Task, tuple[Want, ...]]


def run(config: Config, sink: Sink) -> Report:
    """Carry out a validated configuration; see ``download``."""
    config.check_secrets()
    return carry_out(config, wanted(config), sink)


def wanted(config: Config) -> tuple[Wanted, ...]:
    """What each task of a configuration wants.

    Raises:
        ConfigError: an item cannot be placed.
    """
    network = NetworkSettings(
        config.settings.stall_timeout, connections=max(64, config.settings.workers)
    )
    result = []
    for number, task in enumerate(config.tasks):
        named = f" ({task.name})" if task.name else ""

        def where(location: Sequence[str | int], number: int = number, named: str = named) -> str:
            return config.where(number, location) + named

        context = Context(config.download_root, network, config.settings.engine, where)
        try:
            result.append((task, tuple(task.wants(context))))
        except ConfigError as error:
            raise ConfigError(f"{where(())}: {error.message}") from error
    return tuple(result)


def decide(config: Config, sink: Sink) -> Plan:
    """What ``run`` would do, decided and checked; no byte of any object is read.

    Raises:
        KaiwoError: nothing would be begun: the configuration is wrong, or names are unsafe.
    """
    config.check_secrets()
    with _workshop(config, wanted(config)) as workshop:
        closed, _ = _planned(workshop, sink)
        free_space.require(closed.transfers)
        return closed


class _Workshop(Struct, frozen=True):
    """What a run works with."""

    settings: Settings
    wants: Sequence[Want]
    rules: Rules
    state: State
    executor: Executor


@contextlib.contextmanager
def _workshop(config: Config, tasks: Iterable[Wanted]) -> Iterator[_Workshop]:
    """An executor and the memory; afterwards all that was opened is let go of."""
    settings = config.settings
    policy = RetryPolicy(settings.retries, settings.startup_wait)
    rules = Rules(
        settings.workers,
        policy,
        settings.verify == "checksum",
        settings.fail_fast,
        settings.small_requests,
        None if settings.deadline is None else time.monotonic() + settings.deadline,
    )
    wants = [want for _, wants in tasks for want in wants]
    state = State(settings.state_dir, secrets.token_hex(4))
    threads = settings.workers + (settings.small_requests or 0)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="kaiwo")
    try:
        yield _Workshop(settings, wants, rules, state, executor)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        state.close()
        for want in wants:
            source_cache.close_source(want.opener)


def _planned(workshop: _Workshop, sink: Sink) -> tuple[Plan, plan.Listing]:
    rules, executor = workshop.rules, workshop.executor
    listing = plan.gather(
        workshop.wants, executor, rules.workers, rules.policy, sink, rules.until_s
    )
    if listing.failed and rules.fail_fast:
        raise listing.failed[0][1]
    return _closed(workshop, listing), listing


def _closed(workshop: _Workshop, listing: plan.Listing) -> Plan:
    """The plan of that listing; see ``plan.close``."""
    settings, state = workshop.settings, workshop.state
    return plan.close(
        listing,
        state.run,
        state,
        force=settings.force,
        verify=workshop.rules.verify,
        durable=settings.fsync,
    )


@contextlib.contextmanager
def _alone(workshop: _Workshop, closed: Plan, listing: plan.Listing, sink: Sink) -> Iterator[Plan]:
    """The plan, once no other run is at its targets; until the end, none will be.

    What another run has put in place meanwhile is remembered, and need not be fetched; what it has
    left behind is gone on with, or removed. Only then is it known how much room is needed.

    Raises:
        DiskError: there is not so much room.
    """
    state, state_dir = workshop.state, workshop.settings.state_dir
    until_s = workshop.rules.until_s

    def dead(root: str, run: str) -> bool:
        return not is_claiming(root, state_dir, run)

    with Claim(state.run, lambda: sink.emit(Ticked()), until_s) as claim:
        waited = True
        while waited:
            waited = claim.take(places(closed.transfers, state_dir))
            # Perhaps it ended right before it could be seen.
            if waited or not state.is_current():
                state.forget()
                closed = _closed(workshop, listing)
        all_ = (*closed.transfers, *closed.unchanged)
        claim.tidy(claims_folder(root, state_dir) for root in {each.root for each in all_})
        state.sweep(all_, dead)
        free_space.require(closed.transfers)
        yield closed
        state.sweep(all_, dead)
        # After a deadline, workers may still be at it.
        state.close(ended=until_s is None or time.monotonic() < until_s)


def carry_out(config: Config, tasks: Iterable[Wanted], sink: Sink) -> Report:
    """List, plan, schedule, settle."""
    start_s = time.monotonic()
    tasks = tuple(tasks)
    report = Report(1, 0.0)
    with _workshop(config, tasks) as workshop:
        try:
            closed, listing = _planned(workshop, sink)
            with _alone(workshop, closed, listing, sink) as closed:
                report = scheduler.run(
                    closed, workshop.executor, workshop.rules, workshop.state, sink
                )
                _settle(tasks, closed, listing, report)
            report = replace(report, seconds=time.monotonic() - start_s)
        except BaseException as error:
            # A signal's exception carries the error that it is.
            cause = getattr(error, "error", error)
            code = exit_code_of(cause) if isinstance(cause, KaiwoError) else 1
            report = Report(code, time.monotonic() - start_s)
            raise
        finally:
            # A display has to end, whatever ended the run.
            sink.emit(Ended(report))
    return report


def _settle(tasks: Iterable[Wanted], closed: Plan, listing: plan.Listing, report: Report) -> None:
    """Let each task of which everything is in place do what remains."""
    failed = {item.target for item in report.items if item.status == "failed"}
    missed = {want.opener for want, _ in listing.failed}
    for task, wants in tasks:
        openers = {want.opener for want in wants}
        if type(task).settle is Task.settle or openers & missed:
            continue
        # By their places: what several tasks ask for alike is in the plan once.
        targets = {
            want.placement.place(remote).target
            for want, objects in listing.found
            if want.opener in openers
            for remote in objects
        }
        if not targets & failed:
            transfers = (*closed.transfers, *closed.unchanged)
            task.settle([each for each in transfers if each.target in targets])
