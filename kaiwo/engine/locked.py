"""Objects of a lock, or of several runs: nothing takes the place of what is gone or different."""

from __future__ import annotations

from kaiwo.errors import ChangedError, KaiwoError, NotFoundError
from kaiwo.jobs import Transfer
from kaiwo.objects import RemoteObject, same_bytes


def as_counted(transfer: Transfer, error: KaiwoError) -> KaiwoError:
    """The error that an object failed with; what a lock has, and is not there, has changed."""
    is_gone = transfer.is_fixed and isinstance(error, NotFoundError)
    return differs(transfer, "the object of the lock is gone") if is_gone else error


def replacement(transfer: Transfer, now: RemoteObject) -> ChangedError | None:
    """The error for an object that was looked up, and is not known to be that of the lock."""
    same = same_bytes(now, transfer.object)
    # Where the bytes alone do not tell, nothing else may leave it open.
    is_other = transfer.is_fixed and (same is False or (same is None and transfer.required is None))
    return differs(transfer) if is_other else None


def differs(
    transfer: Transfer, why: str = "the object is not the one that the lock has"
) -> ChangedError:
    """The error for such an object, for people.

    Args:
        transfer: the object.
        why: what is wrong with one of a lock.
    """
    if transfer.locked:
        return ChangedError(
            f"{transfer.source}: {why}; `kaiwo lock --check` shows what differs, and `kaiwo lock` "
            "writes what is there now"
        )
    if transfer.replicated:
        return ChangedError(
            f"{transfer.source}: the object is not the one of the plan any more, and other nodes "
            "have it; run kaiwo again, and all of them get what is there now"
        )
    return ChangedError(
        f"{transfer.source}: the object is not the one of the plan any more, and other shards "
        "have parts of it; start all of them again with another plan"
    )
