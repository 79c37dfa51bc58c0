"""The checksum that an item gives: what the bytes must have, even if their store states another.

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
from kaiwo.workers.formats import reader, require_format
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
        require_format(transfer, reader(path), status.st_size)
        mtime_ns = status.st_mtime_ns
        if path != transfer.target:
            require_open()
            mtime_ns = adopt(transfer)
        now = regular_file(path)
        if now is None or (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            continue  # what is there now is not what was hashed
        return Outcome(transfer, adopted=True, mtime_ns=mtime_ns, checksum=required, verified=True)
    return Outcome(transfer)


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
    if required is None or found == required:
        return
    value = found.value if found is not None else "unknown"
    asks = "the lock has" if transfer.locked else "the item asks for"
    wrong = f"{transfer.source}: {required.algorithm} is {value}, but {asks}"
    actual = compute(stated.algorithm) if stated is not None else None
    if stated is None or actual is None or not checksums.proves(actual, stated):
        raise WrongBytesError(f"{wrong} {required.value}", value)
    advice = "correct the item's checksum, or name the object that has it"
    if transfer.locked:
        advice = "`kaiwo lock` accepts them"
    raise WrongBytesError(
        f"{wrong} {required.value}; these are the bytes that the store states: {advice}",
        value,
        False,
        True,
    )
