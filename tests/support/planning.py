"""From wants to a plan, in one step."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.service_health import LEAST_LOST, ServiceHealth
from kaiwo.files.placement import Under
from kaiwo.jobs import Plan, Want
from kaiwo.objects import Folder, Named
from kaiwo.planning.gather import Listing, gather
from kaiwo.protocols import Placement
from kaiwo.state.state import State
from kaiwo.workers.source_cache import close_source
from tests.support.faulty import (
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PromptPolicy,
    RecordingSink,
    closed_plan,
)


def want(
    store: FaultyStore | FaultyOpener,
    root: Path,
    selection: Folder | Named | None = None,
    *,
    placement: Placement | None = None,
    where: str = "config.yaml:3",
    allow_empty: bool = False,
) -> Want:
    """What an item asks for: by default, everything, below the root."""
    opener = store if isinstance(store, FaultyOpener) else FaultyOpener(store)
    selection = selection or Folder("", ("**/*",))
    prefix = selection.prefix if isinstance(selection, Folder) else ""
    placement = placement or Under(str(root), str(root), prefix)
    return Want("task", where, opener, selection, placement, allow_empty)


def listed(
    wants: Sequence[Want],
    executor: Executor | None = None,
    *,
    retries: int = 3,
    policy: RetryPolicy | None = None,
) -> tuple[Listing, RecordingSink]:
    sink = RecordingSink()
    try:
        listing = gather(
            wants,
            executor or InlineExecutor(),
            4,
            policy or PromptPolicy(retries),
            ServiceHealth(LEAST_LOST),
            sink,
        )
    finally:
        for each in wants:
            close_source(each.opener)
    return listing, sink


def planned(
    wants: Sequence[Want], memory: State | None = None, *, force: bool = False, verify: bool = True
) -> Plan:
    listing, _ = listed(wants)
    return closed_plan(listing, memory, force=force, verify=verify)
