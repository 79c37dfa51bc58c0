"""From a listing to a closed plan: placed, checked and compared, before the first byte.

    draft    each object gets its target; names and targets that may not be are refused, all in one
             error; what kaiwo knows to be in place is done
    claim    the rest, by the caller: nobody else has these targets from then on
    close    what other runs put in place meanwhile is done too; what an earlier run left of the
             others is found

Nothing is listed, placed or compared twice, unless another run was at work at the same targets.
"""

from __future__ import annotations

import logging
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import UnsafeNameError
from kaiwo.files.paths import regular_file
from kaiwo.jobs import Plan, Transfer, Want
from kaiwo.objects import Item, is_identified, same_bytes
from kaiwo.planning.conflicts import TargetCheck
from kaiwo.planning.existing import Answer, statuses
from kaiwo.planning.gather import Listing
from kaiwo.planning.policy import require_allowed
from kaiwo.planning.prune import require_no_ready_file
from kaiwo.state.records import Record
from kaiwo.state.state import State
from kaiwo.workers import formats

logger = logging.getLogger(__name__)
#: Objects, each with the status of a file at its target that may be right.
_Missing = list[tuple[Transfer, os.stat_result | None]]


class Comparison(Struct, frozen=True):
    """How what is at a target is judged.

    Attributes:
        force: fetch even what is in place.
        verify: a checksum must prove what is in place.
        durable: published bytes must be on the disk itself.
        hashed: see ``Transfer``.
        own: what files of the run itself are, which are no targets, by real path.
    """

    force: bool
    verify: bool
    durable: bool = False
    hashed: bool = False
    own: Mapping[str, str] = {}


class Draft(Struct, frozen=True):
    """A plan that is not closed yet.

    Attributes:
        unchanged: objects that are known to be in place.
        missing: the other objects, each with the status of a file of its size that is at its
            target.
        missed: wants that failed.
    """

    unchanged: tuple[Transfer, ...]
    missing: tuple[tuple[Transfer, os.stat_result | None], ...]
    missed: tuple[Item, ...]


def draft(
    listing: Listing, state: State, how: Comparison, of: Collection[Want] | None = None
) -> Draft:
    """Place and check everything that was listed.

    Args:
        listing: of all wants.
        state: what is known to be in place.
        how: what is at a target is judged.
        of: plan only these wants; the others were planned before, and have their targets.

    Raises:
        UnsafeNameError: names that a policy refuses, hostile ones or conflicting targets; all of
            them are named.
    """
    require_allowed(listing)
    check = TargetCheck(state.run, locked=listing.locked, own=how.own)
    found = list(check.transfers(listing.found))
    if check.offenders:
        offenders = tuple(check.offenders)
        by_globs = ", or leave objects out with globs" if check.offenders.are_selected else ""
        raise UnsafeNameError(
            "nothing was downloaded: these targets are invalid or conflict; give the items other "
            f"targets{by_globs}:\n  " + "\n  ".join(offenders),
            offenders,
        )
    require_no_ready_file(listing)
    if of is not None:
        openers = {want.opener for want in of}
        found = [each for each in found if each[0].opener in openers]
    unchanged, missing = _compared(found, state, how)
    return Draft(tuple(unchanged), tuple(missing), listing.missed)


def close(drafted: Draft, state: State, how: Comparison, *, recheck: bool = False) -> Plan:
    """Close the plan, once its targets are claimed.

    Args:
        drafted: see ``draft``.
        state: what is known to be in place, and what earlier runs left.
        how: what is at a target is judged.
        recheck: another run may have changed what is at the targets since the draft.
    """
    unchanged, missing = list(drafted.unchanged), list(drafted.missing)
    if recheck:
        there = statuses(each.target for each, _ in missing)
        now = [
            (replace(each, published=False), _of_size(there.get(each.target), each))
            for each, _ in missing
        ]
        in_place, missing = _compared(now, state, how)
        unchanged += in_place
    if any(each.staged for each, _ in missing):
        staged, missing = _without_staged(missing, state, how)
        unchanged += staged
    todo = [_to_fetch(transfer, there, state, how) for transfer, there in missing]
    todo.sort(key=lambda each: -each.object.size)
    _warn_of_sizes_alone(todo)
    _warn_of_no_sizes(todo)
    return Plan(tuple(todo), tuple(unchanged), drafted.missed)


def _warn_of_sizes_alone(transfers: Iterable[Transfer]) -> None:
    """Say of which services nothing but the sizes of some objects is known."""
    unknown = (each for each in transfers if not (each.required or is_identified(each.object)))
    services = Counter(each.opener.service for each in unknown if not each.object.unsized)
    for service, count in services.items():
        logger.warning(
            "%s: of %d objects only the size is stated: kaiwo cannot see whether they change; the "
            "next run fetches them again, unless it has --verify size",
            service,
            count,
        )


def _warn_of_no_sizes(transfers: Iterable[Transfer]) -> None:
    """Say which services do not state the length of some objects."""
    services = Counter(each.opener.service for each in transfers if each.object.unsized)
    for service, count in services.items():
        logger.warning(
            "%s: the length of %d objects is not stated: each comes in one stream to its end, and "
            "is not in the totals of the plan; kaiwo cannot check the room for it",
            service,
            count,
        )


def _compared(found: _Missing, state: State, how: Comparison) -> tuple[list[Transfer], _Missing]:
    """The objects that are known to be in place, and the others."""
    unchanged: list[Transfer] = []
    missing: _Missing = []
    for transfer, there in found:
        record = None
        if there is not None and _is_believed(transfer, how):
            record = state.manifest(transfer.root).find(transfer, there)
        if record is None or not _is_same(record, transfer, how):
            missing.append((transfer, there))
        elif transfer.check_format and formats.fault_of_file(transfer.target, record.size):
            missing.append((transfer, there))  # the check of the file says what is wrong
        elif how.verify and _is_unproven(record, transfer):
            missing.append((replace(transfer, published=True), there))
        elif record.checksum == transfer.object.checksum and not transfer.object.unsized:
            unchanged.append(transfer)
        else:
            unchanged.append(_as_published(transfer, record))
    return unchanged, missing


def _as_published(transfer: Transfer, record: Record) -> Transfer:
    """The transfer with what is known of its object since it was published."""
    known = replace(transfer.object, checksum=record.checksum, size=record.size)
    return replace(transfer, object=known)


def _without_staged(
    missing: _Missing, state: State, how: Comparison
) -> tuple[list[Transfer], _Missing]:
    """The objects that a run which was killed has put into the next generation, and the others."""
    there = statuses(each.destination for each, _ in missing if each.staged)
    staged: list[Transfer] = []
    others: _Missing = []
    for transfer, status in missing:
        found = _of_size(there.get(transfer.destination), transfer) if transfer.staged else None
        record = None
        if found is not None and _is_believed(transfer, how):
            record = state.manifest(transfer.root).find_staged(transfer, found)
        if (
            record is None
            or not _is_same(record, transfer, how)
            or (how.verify and _is_unproven(record, transfer))
            or (transfer.check_format and formats.fault_of_file(transfer.destination, record.size))
        ):
            others.append((transfer, status))
        else:
            staged.append(_as_published(transfer, record))
    return staged, others


def _is_believed(transfer: Transfer, how: Comparison) -> bool:
    """Whether memory says what is in place, and not a hash of each file."""
    return not (how.force or how.hashed or transfer.locked or transfer.required is not None)


def _is_same(record: Record, transfer: Transfer, how: Comparison) -> bool:
    """Whether the object still has the bytes that were published.

    Where nothing but its size is stated, that is enough for ``--verify size`` alone.
    """
    same = same_bytes(record.object, transfer.object)
    return not how.verify if same is None else same


def _is_unproven(record: Record, transfer: Transfer) -> bool:
    """It was published by its size alone, and its store may state a checksum."""
    remote = transfer.object
    if record.checksum is not None:
        return False
    if remote.checksum_on_request:
        # What was asked then outranks a listing: an etag that looks like a checksum may be none.
        return not record.checked
    return remote.checksum is not None and not checksums.is_guess(remote.checksum)


def _of_size(answer: Answer | None, transfer: Transfer) -> os.stat_result | None:
    """The status of a regular file of the object's size."""
    if not isinstance(answer, os.stat_result) or not stat.S_ISREG(answer.st_mode):
        return None
    remote = transfer.object
    is_any = remote.unsized or transfer.required is not None
    return answer if is_any or answer.st_size == remote.size else None


def _to_fetch(
    transfer: Transfer, there: os.stat_result | None, state: State, how: Comparison
) -> Transfer:
    """The transfer with what is known of its target."""
    present = not how.force and (there is not None or has_blob(transfer))
    present = present and transfer.part is None
    if transfer.required is None:
        # Of a lock, only proof counts; a pointer's digest is one, if the pointer has their sha256.
        is_doubtful = transfer.locked and not checksums.is_of_bytes(transfer.object.checksum)
        present = present and not (transfer.object.unsized or is_doubtful)
    partial = state.partial_download(transfer, published=present)
    if not (how.durable or how.hashed or present or partial):
        return transfer
    return replace(
        transfer, durable=how.durable, hashed=how.hashed, present=present, partial=partial
    )


def has_blob(transfer: Transfer) -> bool:
    """The bytes may be there, for another file, and lack only a link."""
    status = regular_file(transfer.blob) if transfer.blob is not None else None
    return status is not None and status.st_size == transfer.object.size
