"""Locks: written from what stores state, or after a run; compared with what is there now."""

from __future__ import annotations

import time

from kaiwo import environment
from kaiwo.api.orders import Order
from kaiwo.api.tools import listed, opened
from kaiwo.jobs import Want
from kaiwo.locks import lock_file
from kaiwo.locks.differences import Differences, differences
from kaiwo.locks.lock_file import Lock
from kaiwo.locks.locked import lock_of
from kaiwo.locks.pinning import pinned
from kaiwo.net import proxies
from kaiwo.objects import RemoteObject, Report, is_identified
from kaiwo.planning import plan
from kaiwo.planning.gather import Listing
from kaiwo.protocols import Sink


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
        listing = listed(tools, order.asked, sink)
        if listing.failed:
            raise listing.failed[0][1]
        plan.draft(listing, tools.state, tools.comparison)  # names and targets are checked
        rules = tools.rules
        found = pinned(
            listing,
            tools.executor,
            rules.policy,
            workers=rules.workers,
            until_s=rules.until_s,
            # What nothing else identifies is read.
            hashed=lambda remote: hashed or not is_identified(remote),
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


def write_after(order: Order, listing: Listing, report: Report) -> None:
    """Write the lock of a run that has everything in place.

    Args:
        order: of the run.
        listing: of the run.
        report: of the run, which has hashed all files.
    """
    came = {item.target: item.locked for item in report.items if item.locked is not None}

    def as_it_came(want: Want, remote: RemoteObject) -> RemoteObject:
        return came.get(want.placement.place(remote).target, remote)

    found = [
        (want, tuple(as_it_came(want, each) for each in objects)) for want, objects in listing.found
    ]
    # What was listed in a second round has its place in the order, too.
    places = {
        id(want): place for place, asked in enumerate(order.asked) for want in asked.readings()
    }
    found.sort(key=lambda each: places[id(each[0])])
    lock_file.write(order.lock_file, lock_of(found, order.download_root))
