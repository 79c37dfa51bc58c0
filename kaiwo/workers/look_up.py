"""A read found another object than planned: was it replaced, or does its service say so in vain?

replaced           the object as it is now
the same object    as planned, with what its reads have to go by (``ReadAs``): some services
state other etags in a HEAD than in a listing, or in the answer to a GET than
in a HEAD; some do not keep ``If-Match``
"""

from __future__ import annotations

import time

from msgspec.structs import replace

from kaiwo.errors import WrongRangeError
from kaiwo.jobs import Outcome, Transfer
from kaiwo.objects import ReadAs, RemoteObject, as_read, same_bytes
from kaiwo.protocols import Source
from kaiwo.workers import attempt
from kaiwo.workers.recent_dates import COUNTS_AFTER_NS
from kaiwo.workers.source_cache import open_source


def restat(transfer: Transfer) -> Outcome:
    """Ask what the object is now that a read found another one."""
    source = open_source(transfer.opener)
    now = attempt.ask(source, source.stat, transfer)
    if now.unsized == transfer.object.unsized and _is_same(now, transfer.object):
        now = _with_other_words(source, transfer, now)
    return Outcome(transfer, now=now)


def _is_same(now: RemoteObject, planned: RemoteObject) -> bool:
    """Whether it was not replaced.

    An object that is replaced gets another date. So another etag with the same date, which is old
    enough to tell, is another word for the same object.
    """
    if same_bytes(now, planned) is not False:
        return True
    date_ns = now.modified_ns
    stays = date_ns is not None and date_ns == planned.modified_ns
    is_old = stays and time.time_ns() - (date_ns or 0) > COUNTS_AFTER_NS
    # All but the etags agrees, a checksum too if both state one.
    return is_old and same_bytes(replace(now, etag=None), replace(planned, etag=None)) is True


def _with_other_words(source: Source, transfer: Transfer, now: RemoteObject) -> RemoteObject:
    planned = transfer.object
    if now.etag is not None and now.etag != as_read(planned).etag:
        return replace(planned, read_as=ReadAs(now.etag, now.modified_ns))
    read = attempt.ask(source, source.stat_by_reading, transfer)
    if read.size != planned.size and not planned.unsized:
        # Two answers against one, which may have lost its body, or state the length of its range as
        # the object's. Replaced meanwhile, a HEAD says so.
        raise WrongRangeError(
            f"{transfer.source}: listed with {planned.size} bytes, "
            f"and read as if it had {read.size}"
        )
    if read.version != now.version:
        return read
    return replace(planned, read_as=ReadAs(read.etag, read.modified_ns, conditional=False))
