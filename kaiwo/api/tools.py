"""What a run works with: an executor, state and rules; and what it lists with them."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import redact, units
from kaiwo.api.orders import Order
from kaiwo.config.own_files import own_files
from kaiwo.config.settings import Settings
from kaiwo.engine.request_budget import memory_budget
from kaiwo.engine.request_limit import MOST
from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.rules import Rules
from kaiwo.engine.service_health import LEAST_LOST, ServiceHealth
from kaiwo.files import memory_limit, process_limits
from kaiwo.files.kept_folders import kept_open
from kaiwo.jobs import Want
from kaiwo.planning.gather import Listing, gather
from kaiwo.planning.plan import Comparison
from kaiwo.protocols import Sink
from kaiwo.state.state import State
from kaiwo.workers.source_cache import close_source
from kaiwo.workers.threads import ENDS_IN_S, WorkerThreads

logger = logging.getLogger(__name__)


class Tools(Struct, frozen=True):
    """What a run works with."""

    order: Order
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
def opened(order: Order, begun_s: float) -> Iterator[Tools]:
    """An executor and the state; afterwards everything that was opened is closed.

    Args:
        order: what the run is to do.
        begun_s: when the run began, by the monotonic clock: waiting is counted from then on.
    """
    settings = order.settings
    waited_s = time.monotonic() - begun_s
    rules = Rules(
        settings.max_workers,
        RetryPolicy(settings.retries, max(settings.startup_wait - waited_s, 0.0)),
        settings.verify == "checksum" or settings.locked,
        settings.fail_fast,
        None if settings.deadline is None else begun_s + settings.deadline,
        _memory(settings),
        process_limits.most_requests(),
        settings.max_bandwidth,
        by_peers=settings.replicate,
    )
    own = own_files(settings, order.config_file, order.lock_file)
    comparison = Comparison(settings.force, rules.verify, settings.fsync, settings.write_lock, own)
    wants = [want for _, wants in order.tasks for want in wants]
    state = State(settings.state_dir, secrets.token_hex(4), checked=rules.verify)
    if rules.most_requests is not None and rules.most_requests < (rules.workers or MOST):
        logger.info(
            "at most %s at once: the limits of this process (ulimit -n, ulimit -v) allow no more",
            units.count(rules.most_requests, "request"),
        )
    health = ServiceHealth(max(rules.workers or 0, LEAST_LOST))
    executor = WorkerThreads(rules.threads, "kaiwo")
    tools = Tools(order, wants, rules, health, comparison, state, executor)
    with redact.cleaning_log_records(), kept_open():
        try:
            yield tools
        finally:
            tools.end()
            state.close()


def _memory(settings: Settings) -> int:
    """How many bytes the requests of a run may use."""
    budget = memory_budget(memory_limit.memory_limit())
    if not settings.replicate:
        return budget
    from kaiwo.replicas.demands import DEMANDED  # noqa: PLC0415 - few runs have other nodes
    from kaiwo.replicas.memory import HELD  # noqa: PLC0415

    return max(budget - HELD - DEMANDED, budget // 2)


def listed(
    tools: Tools, asked: Sequence[Want], sink: Sink, patience_s: float | None = None
) -> Listing:
    """What stores say of the wants, or their lock; with what signatures say of the bytes.

    Args:
        tools: of the run.
        asked: what to list.
        sink: gets an event for each retry.
        patience_s: see ``gather``.
    """
    return as_signed(tools, asked, lambda: _listed(tools, asked, sink, patience_s))


def as_signed(tools: Tools, asked: Sequence[Want], list_all: Callable[[], Listing]) -> Listing:
    """A listing, with what signatures say of the bytes.

    Args:
        tools: of the run.
        asked: what is listed.
        list_all: lists it, once the keys of signatures are known.
    """
    if all(want.signature is None for want in asked):
        return list_all()
    from kaiwo.signatures.signed import signed, trusted  # noqa: PLC0415 - few runs have one

    trusts = trusted(asked)
    listing = list_all()
    return signed(listing, trusts, tools.executor, tools.rules.policy, until_s=tools.rules.until_s)


def _listed(tools: Tools, asked: Sequence[Want], sink: Sink, patience_s: float | None) -> Listing:
    rules, order = tools.rules, tools.order
    if order.settings.locked:
        from kaiwo.locks.lock_file import read  # noqa: PLC0415 - few runs have a lock
        from kaiwo.locks.locked import listing_of  # noqa: PLC0415

        return listing_of(read(order.lock_file), asked, order.lock_file)
    listing = gather(
        asked,
        tools.executor,
        rules.workers,
        rules.policy,
        tools.health,
        sink,
        rules.until_s,
        rules.requests,
        (lambda _: ()) if tools.comparison.force else tools.state.answers,
        patience_s,
    )
    if order.settings.write_lock:
        from kaiwo.locks.pinning import pinned  # noqa: PLC0415 - as above

        found = pinned(
            listing,
            tools.executor,
            rules.policy,
            workers=rules.workers,
            until_s=rules.until_s,
            hashed=lambda _: False,  # the run does
            lenient=True,  # its transfer says what is wrong
        )
        return replace(listing, found=tuple(found))
    return listing
