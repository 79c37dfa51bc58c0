"""From wants to a closed plan: everything listed, placed, checked, before the first byte.

    list      all wants at once, on the run's executor
    place     each object gets its target; a name that may not be one is an offender
    check     no two objects for one target, no file where another needs a folder, no way out
              of the root through a link; all offenders are named in one error
    compare   what is there already: known (unchanged), perhaps right (present), or absent

A want whose listing fails, or that matches nothing, does not stop the others: it becomes a failed
item of the report.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.retry import RetryPolicy, used_up
from kaiwo.errors import (
    ContainerMissingError,
    DeadlineError,
    KaiwoError,
    NotFoundError,
    UnsafeNameError,
)
from kaiwo.events import Retried, Ticked
from kaiwo.files.paths import regular_file
from kaiwo.jobs import RANGE, ListJob, Plan, Transfer, Want
from kaiwo.objects import Folder, Item, Named, RemoteObject
from kaiwo.planning.conflicts import TargetCheck
from kaiwo.protocols import Sink
from kaiwo.state.manifest import Record
from kaiwo.state.state import State
from kaiwo.workers import list_objects
from kaiwo.workers.list_objects import Found

logger = logging.getLogger(__name__)


class Listing(Struct, frozen=True):
    """What the wants' listings brought, in the order of the wants."""

    found: tuple[tuple[Want, tuple[RemoteObject, ...]], ...]
    failed: tuple[tuple[Want, KaiwoError], ...]


def gather(
    wants: Sequence[Want],
    executor: Executor,
    window: int,
    policy: RetryPolicy,
    sink: Sink,
    until_s: float | None = None,
) -> Listing:
    """List all wants at once; failures that pass are repeated.

    Args:
        wants: of all tasks.
        executor: where the listings run.
        window: how many run at once.
        policy: how persistent to be.
        sink: is told of repeats.
        until_s: the run's deadline, by the monotonic clock.
    """
    results: dict[int, Found] = {}

    def handle(job: ListJob, found: Found) -> None:
        again = policy.again(job, found.error) if found.error is not None else None
        if again is None or found.error is None:
            error = used_up(found.error, job.tries) if found.error is not None else None
            results[job.number] = replace(found, error=error)
            return
        sink.emit(Retried(job.want.where, found.error, again[0].tries.count, again[1]))
        dispatcher.repeat(*again)

    dispatcher = Dispatcher(executor, window, list_objects.run, idle=lambda: sink.emit(Ticked()))
    dispatcher.feed(ListJob(number, want) for number, want in enumerate(wants))
    dispatcher.run(handle, until_s)
    late = Found(error=DeadlineError("the deadline passed before it was listed"))
    results = {number: results.get(number, late) for number in range(len(wants))}
    return _judged(wants, results)


def _judged(wants: Sequence[Want], results: dict[int, Found]) -> Listing:
    found: list[tuple[Want, tuple[RemoteObject, ...]]] = []
    failed: list[tuple[Want, KaiwoError]] = []
    for number, want in enumerate(wants):
        result = results[number]
        error = result.error
        absent = isinstance(error, NotFoundError) and not isinstance(error, ContainerMissingError)
        if error is not None and absent and want.allow_empty:
            # A misspelled bucket is never meant.
            logger.warning("%s: %s", want.where, error.message)
            error = None
        elif error is None and not result.objects and not want.allow_empty:
            error = NotFoundError(f"{described(want)}: nothing matches")
        if error is None:
            found.append((want, result.objects))
        else:
            message = f"{want.where}: {error.message}" if want.where else error.message
            failed.append((want, type(error)(message, *error.args[1:])))
    return Listing(tuple(found), tuple(failed))


def described(want: Want) -> str:
    """The want as a URL, for people."""
    match want.selection:
        case Folder(prefix, globs):
            return want.opener.url(prefix) + (" or ".join(globs) if globs else "**/*")
        case Named(keys):
            return want.opener.url(", ".join(keys))


def _missed(listing: Listing) -> Iterator[Item]:
    for want, error in listing.failed:
        yield Item(want.task, described(want), "", "failed", 0, error=error)


def close(
    listing: Listing,
    run: str,
    state: State,
    *,
    force: bool,
    verify: bool,
    durable: bool = False,
) -> Plan:
    """Place and check everything that was listed; afterwards nothing is decided any more.

    Args:
        listing: of all wants.
        run: a token for temporary names.
        state: what is known to be in place.
        force: fetch even what is already there.
        verify: what is there has to be proven by a checksum.
        durable: what is published has to be on the disk itself.

    Raises:
        UnsafeNameError: hostile names or conflicting targets; all offenders are named.
    """
    check = TargetCheck(run)
    looked_at = list(check.transfers(listing.found))
    if check.offenders:
        raise UnsafeNameError(
            "nothing was begun, for these targets cannot be; leave the objects out with a glob, or "
            "give them other targets:\n  " + "\n  ".join(check.offenders)
        )
    todo: list[Transfer] = []
    unchanged: list[Transfer] = []
    for transfer, there in looked_at:
        if there is None or force:
            present = not force and _has_blob(transfer)
            todo.append(_to_fetch(transfer, state, durable=durable, present=present))
            continue
        record = state.manifest(transfer.root).find(transfer, there)
        if record is None or (verify and _unproven(record, transfer)):
            todo.append(_to_fetch(transfer, state, durable=durable, present=True))
        elif record.checksum == transfer.object.checksum:
            unchanged.append(transfer)
        else:
            known = replace(transfer.object, checksum=record.checksum)
            unchanged.append(replace(transfer, object=known))
    todo.sort(key=lambda each: -each.object.size)
    return Plan(tuple(todo), tuple(unchanged), tuple(_missed(listing)))


def _has_blob(transfer: Transfer) -> bool:
    """The bytes may be there, for another file, and lack only a link."""
    status = regular_file(transfer.blob) if transfer.blob is not None else None
    return status is not None and status.st_size == transfer.object.size


def _to_fetch(transfer: Transfer, state: State, *, durable: bool, present: bool) -> Transfer:
    """The transfer with what is known of its place."""
    partial = None
    if transfer.object.size > RANGE:
        partial = state.partial_download(transfer, published=present)
    if not (durable or present or partial):
        return transfer
    return replace(transfer, durable=durable, present=present, partial=partial)


def _unproven(record: Record, transfer: Transfer) -> bool:
    """It was published by its size alone, or with another checksum than the store states now."""
    known, stated = record.checksum, transfer.object.checksum
    if known is None or stated is None:
        return stated is not None
    return known.algorithm == stated.algorithm and known != stated
