"""A listing as a lock, and a lock as the listing of a later run.

What a lock says is data, like any listing: its keys must be what the configuration asks for, and
names, targets and conflicts are checked by the plan.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from kaiwo.errors import ConfigError
from kaiwo.files.paths import is_within
from kaiwo.jobs import Want
from kaiwo.locks.lock_file import Entry, Lock, LockedItem, entry_of
from kaiwo.net.web_urls import is_web
from kaiwo.objects import Folder, RemoteObject
from kaiwo.planning.gather import Listing, described
from kaiwo.workers.globs import matcher

#: At most this many items that do not fit are named.
_MOST_NAMED = 5
#: Stores whose versions are of one object each; a mirror of the Hub may call a branch a commit.
_BY_VERSION = ("s3://", "gs://")


def lock_of(found: Iterable[tuple[Want, Sequence[RemoteObject]]], download_root: str) -> Lock:
    """What was listed, as a lock.

    Args:
        found: the objects of each want.
        download_root: targets below it are named relative to it.

    Raises:
        ConfigError: a lock cannot hold an address of the web, because it may be a secret.
    """
    return Lock(
        tuple(
            LockedItem(
                described(want), tuple(_entry(want, each, download_root) for each in objects)
            )
            for want, objects in found
        )
    )


def _entry(want: Want, remote: RemoteObject, download_root: str) -> Entry:
    url = want.opener.url(remote.key, remote.version)
    is_named = not isinstance(want.selection, Folder)
    if not is_named and "?" in remote.key and is_web(url):
        raise ConfigError(
            f"{url}: files whose addresses have a query cannot be locked, because it may be a "
            "secret; name them as `file` items"
        )
    if want.required is not None:  # what its item says of the bytes goes before the store's word
        remote = replace(remote, checksum=want.required, may_be_pointer=False)
    place = want.placement.place(remote)
    root = place.root if place.blob is not None and not place.staged else download_root
    within = is_within(place.target, root)
    target = posixpath.relpath(place.target, root) if within else place.target
    return entry_of(remote, url, target, is_named=is_named)


def listing_of(lock: Lock, wants: Sequence[Want], path: str) -> Listing:
    """The objects of a lock, as if the stores had listed them.

    Args:
        lock: of this configuration.
        wants: what the configuration asks for.
        path: of the lock file, for errors.

    Raises:
        ConfigError: the lock is of another configuration.
    """
    held: defaultdict[str, deque[LockedItem]] = defaultdict(deque)
    for each in lock.items:
        held[each.item].append(each)
    found: list[tuple[Want, tuple[RemoteObject, ...]]] = []
    missing: list[str] = []
    for want in wants:
        meant = next((each for each in want.readings() if held[described(each)]), None)
        if meant is None:
            missing.append(described(want))
        else:
            locked = held[described(meant)].popleft()
            if not (locked.entries or meant.allow_empty):
                raise ConfigError(f"{path}: {locked.item} has no object; write it again")
            found.append((meant, tuple(_objects(meant, locked, path))))
    left = [each.item for items in held.values() for each in items]
    if missing or left:
        faults = [*(f"it lacks {each}" for each in missing), *(f"it has {each}" for each in left)]
        more = f"; and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
        raise ConfigError(
            f"{path} does not fit the configuration: {'; '.join(faults[:_MOST_NAMED])}{more}; "
            "write it again with `kaiwo lock`"
        )
    return Listing(tuple(found), locked=True)


def _objects(want: Want, locked: LockedItem, path: str) -> Iterator[RemoteObject]:
    """The objects of an item.

    Raises:
        ConfigError: one of them is not what the item asks for.
    """
    selection = want.selection
    by_version = want.opener.url("").startswith(_BY_VERSION)
    if isinstance(selection, Folder):
        matches, prefix = matcher(selection), selection.prefix
        for entry in locked.entries:
            key = entry.key
            if key is None or not key.startswith(prefix) or not matches(key[len(prefix) :]):
                raise ConfigError(f"{path}: {entry.url} is not what {locked.item} asks for")
            yield entry.object(key, by_version=by_version)
        return
    if len(locked.entries) not in {len(selection.keys), 0}:
        raise ConfigError(f"{path}: {locked.item} has more than one object")
    for key, entry in zip(selection.keys, locked.entries, strict=False):
        remote = entry.object(key, by_version=by_version)
        if want.required not in {None, remote.checksum}:
            raise ConfigError(
                f"{path}: the checksum of {locked.item} is not that of its item; write the lock "
                "again with `kaiwo lock`"
            )
        yield remote
