"""The checksum that an item, a lock or a signature gives, even if the store states another.

What is at the target already counts only when it is hashed: neither its size nor what kaiwo
remembers of it is believed. So a file counts, too, when the store has another object meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from kaiwo import checksums
from kaiwo.errors import WrongBytesError
from kaiwo.files.paths import regular_file
from kaiwo.files.publish import adopt
from kaiwo.jobs import Outcome, Transfer
from kaiwo.objects import Checksum
from kaiwo.workers.formats import require_format
from kaiwo.workers.threads import require_open
from kaiwo.workers.verify import hash_file


def check_existing(transfer: Transfer) -> Outcome:
    """Adopt the file at the target, or its blob, if its bytes have the item's checksum."""
    required = transfer.required
    places = (transfer.target,) if transfer.blob is None else (transfer.target, transfer.blob)
    for path in places:
        status = regular_file(path)
        if status is None or required is None:
            continue
        if hash_file(required.algorithm, path=path, size=status.st_size) != required:
            continue
        also = _also_locked(transfer)
        if also and hash_file(also.algorithm, path=path, size=status.st_size) != also:
            continue
        require_format(transfer, path, status.st_size)
        mtime_ns = status.st_mtime_ns
        if path != transfer.target or transfer.staged:
            require_open()
            mtime_ns = adopt(transfer, path)
        now = regular_file(path)
        if now is None or (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            continue  # what is there now is not what was hashed
        return Outcome(
            transfer,
            adopted=True,
            staged=transfer.staged and path != transfer.target,
            mtime_ns=mtime_ns,
            checksum=required,
            verified=True,
        )
    return Outcome(transfer)


def _also_locked(transfer: Transfer) -> Checksum | None:
    """What a lock says of the bytes by another algorithm than a signature does, if anything."""
    stated, required = transfer.object.checksum, transfer.required
    if not (transfer.locked and transfer.signed) or stated is None or required is None:
        return None
    is_other = stated.algorithm != required.algorithm and checksums.is_of_bytes(stated)
    return stated if is_other else None


def require_item_checksum(
    transfer: Transfer, found: Checksum | None, compute: Callable[[str], Checksum | None]
) -> None:
    """Refuse other bytes than the item asks for.

    Args:
        transfer: of an item with a checksum.
        found: what the bytes have.
        compute: their checksum by another algorithm.

    Raises:
        WrongBytesError: they are others; for good, if they are those that the store states.
    """
    required, stated = transfer.required, transfer.object.checksum
    if required is None:
        return
    if found == required:
        if (also := _also_locked(transfer)) is not None and (
            has := compute(also.algorithm)
        ) != also:
            value = has.value if has is not None else "unknown"
            raise WrongBytesError(
                f"{transfer.source}: {also.algorithm} is {value}, but the lock has {also.value}; "
                "the bytes are those that are signed: `kaiwo lock` accepts them",
                value,
                False,
                True,
            )
        return
    value = found.value if found is not None else "unknown"
    asks = "the lock has" if transfer.locked else "the item asks for"
    if transfer.signed:
        asks = "the signature has"
    wrong = f"{transfer.source}: {required.algorithm} is {value}, but {asks}"
    actual = compute(stated.algorithm) if stated is not None else None
    if stated is None or actual is None or not checksums.proves(actual, stated):
        raise WrongBytesError(f"{wrong} {required.value}", value)
    advice = "correct the item's checksum, or name the object that has it"
    if transfer.locked:
        advice = "`kaiwo lock` accepts them"
    if transfer.signed:
        advice = "they are not what was signed"
    raise WrongBytesError(
        f"{wrong} {required.value}; these are the bytes that the store states: {advice}",
        value,
        False,
        True,
    )
