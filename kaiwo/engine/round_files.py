"""The temporary file of a large object's round, and its entry in the journal.

A later run resumes from both together: a file without an entry is removed, an entry without a file
means nothing.
"""

from __future__ import annotations

from msgspec.structs import replace

from kaiwo.engine.flight import Flight
from kaiwo.errors import IntegrityError, KaiwoError, NotFoundError
from kaiwo.files import inherited_files, temporary_files
from kaiwo.files.folders import Root, root_of
from kaiwo.jobs import Transfer
from kaiwo.state.state import State


def prepare(transfer: Transfer, state: State) -> None:
    """Have a temporary file for the ranges: what an earlier run left, or a new one.

    Raises:
        DiskError: the file system refused.
    """
    root, partial = root_of(transfer), transfer.partial
    if state.is_shared(transfer):
        state.begin(transfer)
        inherited_files.join(transfer.temporary, state.run, root)
        return
    is_own = partial is not None and inherited_files.is_own(partial.temporary, root)
    # Ranges that are copied from a file of somebody else are noted when they are there.
    state.begin(transfer if is_own else replace(transfer, partial=None))
    # What the journal cannot hold stays where a further run finds it.
    is_resumed = is_own and state.can_resume(transfer)
    if not (is_resumed and _take_over(transfer, root)):
        temporary_files.create(transfer.temporary, root)


def _take_over(transfer: Transfer, root: Root) -> bool:
    """Give what an earlier run left the name of this round."""
    partial = transfer.partial
    return partial is not None and inherited_files.take_over(
        partial.temporary, transfer.temporary, root
    )


def discard(transfer: Transfer) -> None:
    """Remove the temporary file of this round, if it is there."""
    temporary_files.discard(transfer.temporary, root_of(transfer))


def drop(transfer: Transfer, state: State) -> None:
    """Leave nothing of this round, nor of an earlier run."""
    if transfer.part is not None:
        return  # what other runs have written stays
    discard(transfer)
    if transfer.partial is not None:
        temporary_files.discard(transfer.partial.temporary, root_of(transfer))
    state.end(transfer)


def leave(flight: Flight, state: State, error: KaiwoError | None) -> None:
    """Keep what a later run can resume from, and nothing else.

    Args:
        flight: a large object that is settled now.
        state: has its journal.
        error: why it failed; None when it is in place.
    """
    transfer = flight.transfer
    if transfer.part is not None:
        return  # other runs write into it, or will finish it
    if error is None or isinstance(error, IntegrityError | NotFoundError):
        drop(transfer, state)
    elif not (state.can_resume(transfer) and (flight.received or transfer.partial)):
        discard(transfer)
        state.end(transfer)
