"""What stores have now, beside what a lock has: added, gone, changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from kaiwo.errors import ContainerMissingError, NotFoundError
from kaiwo.jobs import Want
from kaiwo.locks.lock_file import Lock
from kaiwo.locks.locked import listing_of
from kaiwo.objects import RemoteObject, same_bytes
from kaiwo.planning.gather import Listing


class Change(Struct, frozen=True):
    """One object that differs.

    Attributes:
        url: of the object, without secrets.
        before: its size in the lock; None: it is not in it.
        after: its size now; None: it is gone.
        why: what tells that it is another one.
    """

    url: str
    before: int | None
    after: int | None
    why: str = ""


class Differences(Struct, frozen=True):
    """How what is there differs from a lock.

    Attributes:
        changes: what differs.
        objects: how many the lock has.
    """

    changes: tuple[Change, ...]
    objects: int


def differences(lock: Lock, listing: Listing, wants: Sequence[Want], path: str) -> Differences:
    """Compare a lock with a listing.

    Args:
        lock: of the wants.
        listing: what is there.
        wants: of the configuration.
        path: of the lock file, for errors.

    Raises:
        ConfigError: the lock is of other wants.
        KaiwoError: something could not be listed.
    """
    held = listing_of(lock, wants, path)
    for _, error in listing.failed:
        if not isinstance(error, NotFoundError) or isinstance(error, ContainerMissingError):
            raise error
    # By the want itself: buckets of one name at two services have one description.
    now = {id(want): objects for want, objects in listing.found}
    changes = [
        change
        for want, objects in held.found
        for change in _changes(want, objects, now.get(id(want), ()))
    ]
    return Differences(tuple(changes), len(lock))


def _changes(
    want: Want, before: Sequence[RemoteObject], after: Sequence[RemoteObject]
) -> Iterator[Change]:
    old, new = ({each.key: each for each in objects} for objects in (before, after))
    for key in sorted(old.keys() | new.keys()):
        one, other = old.get(key), new.get(key)
        url = want.opener.url(key)
        if one is None or other is None:
            yield Change(
                url, None if one is None else one.size, None if other is None else other.size
            )
        elif same_bytes(one, other) is False:
            yield Change(url, one.size, other.size, _reason(one, other))


def _reason(one: RemoteObject, other: RemoteObject) -> str:
    """The highest step of their identities that differs."""
    if one.size != other.size and not (one.unsized or other.unsized):
        return "size"
    for name in ("checksum", "version", "etag", "modified_ns"):
        first, second = getattr(one, name), getattr(other, name)
        if first is not None and second is not None and first != second:
            return "time" if name == "modified_ns" else name
    return "query"
