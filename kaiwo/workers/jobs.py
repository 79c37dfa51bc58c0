"""The worker function for bytes: takes a job, returns an outcome for each of its objects.

    Batch          read small objects and check them in memory; then write and rename them
    Range          read one range, take its checksum, write it, all at once or in pieces; what an
                   earlier run or an earlier attempt wrote of it is not read
    Whole          read an object in one stream, for servers that ignore ranges
    Finish         check size and checksum, rename, once all ranges are there
    CheckExisting  hash what is at the target already
    FetchChecksum  ask which checksum a large object has
    Restat         ask what an object is now that it was replaced

It runs in any thread or process: jobs are data, and sources are opened where they are used. Errors
come back inside outcomes, already classified; an exception that leaves ``run`` is a bug.

Invariants: the target's name never holds partial or unverified bytes; what was read is exactly what
was asked for, of the identity that was planned.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from kaiwo.jobs import (
    Batch,
    CheckExisting,
    FetchChecksum,
    Finish,
    Job,
    Outcome,
    Range,
    Restat,
    Transfer,
    Whole,
)
from kaiwo.workers import item_checksums, look_up, ranges, verify
from kaiwo.workers.attempt import timed
from kaiwo.workers.reading import AT_ONCE, Reading
from kaiwo.workers.small import run_batch


def run(job: Job, how: Reading = AT_ONCE) -> tuple[Outcome, ...]:
    """Do one job; the outcomes are in the order of its transfers.

    Args:
        job: what to do.
        how: how bytes are read.
    """
    if isinstance(job, Batch):
        return run_batch(job, how)
    return (timed(job.transfer, _step(job, how)),)


def _step(job: Job, how: Reading) -> Callable[[Transfer], Outcome]:
    match job:
        case Range():
            return partial(ranges.read_range, job=job, how=how)
        case Whole(_, check):
            return partial(ranges.read_stream, check=check, how=how)
        case Finish(_, stated, found):
            return partial(ranges.finish, stated=stated, found=found)
        case CheckExisting(transfer):
            is_of_item = transfer.required is not None
            step = item_checksums.check_existing if is_of_item else verify.check_existing
            return partial(_with_digest, step) if transfer.hashed else step
        case FetchChecksum(_, guess):
            return partial(verify.fetch_checksum, refuted=guess)
        case Restat():
            return look_up.restat
        case _:
            raise TypeError(type(job))


def _with_digest(check: Callable[[Transfer], Outcome], transfer: Transfer) -> Outcome:
    """What a check finds, and the sha256 of the file that it found."""
    found = check(transfer)
    if not found.adopted:
        return found
    size = os.stat(transfer.target).st_size
    digest = verify.hash_file("sha256", path=transfer.target, size=size)
    return replace(found, digest=digest)
