"""What a plan says of each object: what is at its target, and whether shards may divide it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec.structs import asdict

from kaiwo.jobs import Want
from kaiwo.objects import RemoteObject, is_identified
from kaiwo.planning.gather import Listing
from kaiwo.planning.plan import Draft, has_blob
from kaiwo.protocols import Opener
from kaiwo.shards.plan_file import Planned, State


def planned(
    listing: Listing, drafted: Draft, serves: Collection[Opener]
) -> Iterator[tuple[Want, list[Planned]]]:
    """The objects of each want.

    Args:
        listing: of all wants.
        drafted: the plan that was made of it.
        serves: openers of stores that serve any range of an object.
    """
    present = {
        transfer.index: there is not None or has_blob(transfer)
        for transfer, there in drafted.missing
    }
    index = 0
    for want, objects in listing.found:
        found = []
        for remote in objects:
            state: State = "in_place"  # or the target is that of an object before it
            if index in present:
                state = "present" if present[index] else "missing"
            in_parts = want.opener in serves and _has_ranges(remote)
            found.append(Planned(**asdict(remote), state=state, in_parts=in_parts))
            index += 1
        yield want, found


def _has_ranges(remote: RemoteObject) -> bool:
    """Whether its parts may be read by several processes, and be told from those of another."""
    in_one = remote.read_as is not None and remote.read_as.in_one
    streams = remote.stream_id is not None or remote.unsized or remote.silent_reads or in_one
    return not streams and is_identified(remote)
