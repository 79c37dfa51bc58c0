"""The temporary file of a large object's round, and its entry in the journal.

A later run resumes from both together: a file without an entry is removed, an entry without a file
means nothing.
"""

from __future__ import annotations

from kaiwo.engine.flight import Flight
from kaiwo.errors import IntegrityError, KaiwoError, NotFoundError
from kaiwo.files import temporary_files
from kaiwo.jobs import Transfer
from kaiwo.state.state import State


def prepare(transfer: Transfer, state: State) -> None:
    """Have a temporary file for the ranges: what an earlier run left, or a new one.

    Raises:
        DiskError: the file system refused.
    """
    state.begin(transfer)
    if not _take_over(transfer, state):
        temporary_files.create(transfer.temporary)


def _take_over(transfer: Transfer, state: State) -> bool:
    """Give what an earlier run left the name of this round; False if there is nothing to resume."""
    partial = transfer.partial
    # What the journal cannot hold stays where a further run finds it.
    if partial is None or not state.can_resume(transfer):
        return False
    return temporary_files.take_over(partial.temporary, transfer.temporary)


def drop(transfer: Transfer, state: State) -> None:
    """Leave nothing of this round, nor of an earlier run."""
    temporary_files.discard(transfer.temporary)
    if transfer.partial is not None:
        temporary_files.discard(transfer.partial.temporary)
    state.end(transfer)


def leave(flight: Flight, state: State, error: KaiwoError | None) -> None:
    """Keep what a later run can resume from, and nothing else.

    Args:
        flight: a large object that is settled now.
        state: has its journal.
        error: why it failed; None when it is in place.
    """
    transfer = flight.transfer
    if error is None or isinstance(error, IntegrityError | NotFoundError):
        drop(transfer, state)
    elif not (state.can_resume(transfer) and (flight.received or transfer.partial)):
        temporary_files.discard(transfer.temporary)
        state.end(transfer)
