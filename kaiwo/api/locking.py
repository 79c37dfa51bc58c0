"""Locks: written from what stores state, or after a run; compared with what is there now."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from functools import partial

from msgspec.structs import replace

from kaiwo import environment
from kaiwo.api.orders import Order
from kaiwo.api.tools import listed, opened
from kaiwo.jobs import Transfer, Want
from kaiwo.locks import lock_file
from kaiwo.locks.differences import Differences, differences
from kaiwo.locks.lock_file import Lock
from kaiwo.locks.locked import lock_of
from kaiwo.locks.pinning import pinned
from kaiwo.net import proxies
from kaiwo.objects import Checksum, RemoteObject, Report
from kaiwo.planning import plan
from kaiwo.planning.gather import Listing
from kaiwo.protocols import Sink
from kaiwo.workers.verify import hash_file

#: The objects of each want.
Found = Iterable[tuple[Want, tuple[RemoteObject, ...]]]


@environment.cleaned(proxies.canonical)
def lock(order: Order, sink: Sink, *, hashed: bool = False) -> Lock:
    """Write the lock file of an order: what its stores have now.

    Args:
        order: its ``lock_file`` is written.
        sink: gets an event for each retry.
        hashed: read objects whose sha256 is not stated.

    Raises:
        KaiwoError: something cannot be listed, read or placed; no file was written.
    """
    with opened(order, time.monotonic()) as tools:
        listing = _complete(listed(tools, order.asked, sink))
        plan.draft(listing, tools.state, tools.comparison)  # names and targets are checked
        rules = tools.rules
        found = pinned(
            listing,
            tools.executor,
            rules.policy,
            workers=rules.workers,
            until_s=rules.until_s,
            hashed=hashed,
        )
    made = lock_of(found, order.download_root)
    lock_file.write(order.lock_file, made)
    return made


@environment.cleaned(proxies.canonical)
def check(order: Order, sink: Sink) -> Differences:
    """How what stores have now differs from an order's lock.

    Raises:
        ConfigError: the lock is of another configuration.
        KaiwoError: something cannot be listed.
    """
    held = lock_file.read(order.lock_file)
    with opened(order, time.monotonic()) as tools:
        listing = listed(tools, order.asked, sink)
        return differences(held, listing, order.asked, order.lock_file)


def digests(transfers: Iterable[Transfer], executor: Executor) -> dict[str, Checksum]:
    """The sha256 of files that are in place, by their targets."""
    futures = {
        each.target: executor.submit(
            partial(hash_file, "sha256", path=each.target, size=each.object.size)
        )
        for each in transfers
    }
    found = {target: future.result() for target, future in futures.items()}
    return {target: digest for target, digest in found.items() if digest is not None}


def write_after(
    order: Order, listing: Listing, report: Report, known: Mapping[str, Checksum]
) -> None:
    """Write the lock of a run that has everything in place.

    Args:
        order: of the run.
        listing: of the run.
        report: of the run.
        known: the sha256 of files that were in place.
    """
    by_target = {item.target: item.digest for item in report.items if item.digest is not None}
    by_target.update(known)
    sizes = {item.target: item.bytes for item in report.items}

    def with_digest(want: Want, remote: RemoteObject) -> RemoteObject:
        target = want.placement.place(remote).target
        size = sizes.get(target, remote.size)
        checksum = by_target.get(target, remote.checksum)
        return replace(remote, checksum=checksum, size=size, unsized=False, may_be_pointer=False)

    found = (
        (want, tuple(with_digest(want, o) for o in objects)) for want, objects in listing.found
    )
    lock_file.write(order.lock_file, lock_of(found, order.download_root))


def _complete(listing: Listing) -> Listing:
    """The listing, if it has everything.

    Raises:
        KaiwoError: that of the first want that failed.
    """
    for _, error in listing.failed:
        raise error
    return listing
