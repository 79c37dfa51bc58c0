"""What several statements about one object agree on, where servers state other things each time.

Behind one address may be many servers. Each may state its own etag or date of the same bytes, and
a request goes to any of them. What differs between two statements identifies nothing. What all of
them state alike still does.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from kaiwo.engine.flight import Flight
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.errors import ChangedError
from kaiwo.objects import ReadAs, RemoteObject

logger = logging.getLogger(__name__)


def agreed(one: RemoteObject, later: RemoteObject) -> RemoteObject:
    """The later statement, without etag, date and checksum where the earlier one differs."""
    return replace(
        later,
        etag=later.etag if later.etag == one.etag else None,
        modified_ns=later.modified_ns if later.modified_ns == one.modified_ns else None,
        checksum=later.checksum if later.checksum == one.checksum else None,
    )


def are_of_other_bytes(one: RemoteObject, later: RemoteObject) -> bool:
    """Whether two statements prove that the object was replaced: by its version, or its checksum.

    A checksum that was made of the etag proves no more than the etag. Where reads state nothing,
    one of them may be a mixture: only the statements tell.
    """
    if later.silent_reads:
        return True
    if one.version is not None and later.version is not None and one.version != later.version:
        return True
    first, second = _own_checksum(one), _own_checksum(later)
    if first is None or second is None or first[0] != second[0]:
        return False
    return first != second


def _own_checksum(remote: RemoteObject) -> tuple[str, str] | None:
    """Algorithm and value of a checksum that is not made of the etag."""
    checksum = remote.checksum
    if checksum is None or checksum.value == remote.etag:
        return None
    return checksum.algorithm, checksum.value


def next_object(flight: Flight, now: RemoteObject, health: ServiceHealth) -> RemoteObject:
    """What to fetch of an object that was looked up, and is another one than planned.

    Raises:
        ChangedError: it was replaced again.
    """
    before = flight.transfer.object
    if not flight.replaced:
        flight.replaced = True
        return now
    if are_of_other_bytes(before, now):
        text = "the object was replaced again and again during its transfer"
        raise ChangedError(f"{flight.transfer.source}: {text}")
    return in_one_request(flight, health)


def in_one_request(flight: Flight, health: ServiceHealth) -> RemoteObject:
    """The object for one request from start to end, whose own answer is what identifies it."""
    service, source = flight.transfer.opener.service, flight.transfer.source
    if health.give_up_identity(service):
        logger.warning(
            "%s states other etags or dates of an object in each answer: such an object is read by "
            "one request, and checked by its length if no checksum is stated",
            service,
        )
    logger.info("%s: its etag or date differs in each answer: read by one request", source)
    flight.in_one = True
    # Asked again, its store would state something else again.
    return replace(
        flight.agreed or flight.transfer.object,
        read_as=ReadAs(conditional=False, in_one=True),
        unpinned=False,
        checksum_on_request=False,
    )
