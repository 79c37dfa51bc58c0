"""Dates that are too young to tell an object from its next version.

Most stores state dates in whole seconds. An object that was changed a moment ago may be changed
again within the same second, and its date then stays.
"""

from __future__ import annotations

import time

from msgspec.structs import replace

from kaiwo.objects import RemoteObject

SECOND_NS = 1_000_000_000
#: A date in whole seconds counts from this age on: its second, and as much for clocks that differ.
COUNTS_AFTER_NS = 2 * SECOND_NS


def without_recent_date(remote: RemoteObject) -> RemoteObject:
    """The object without its date, if only the date identifies it and is too young for that."""
    date_ns = remote.modified_ns
    if date_ns is None or remote.etag is not None or remote.version is not None:
        return remote
    is_recent = date_ns % SECOND_NS == 0 and time.time_ns() - date_ns < COUNTS_AFTER_NS
    return replace(remote, modified_ns=None) if is_recent else remote
