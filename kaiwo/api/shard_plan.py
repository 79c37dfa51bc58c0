"""The plan that all shards follow: the first of them makes it, the others wait for it.

    there is a plan     it is followed, if it is of the same configuration, lock and shards
    there is none       who gets the claim on its name lists, checks names and targets, writes it
    it is finished      without a job it gives way to a new one; with a job, all shards of that are
                        the same run, also one that starts again

The claim is that of ``state/claims.py``, so a shard that is killed while it makes the plan holds
nobody up for long.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import units
from kaiwo.api.orders import Order
from kaiwo.api.tools import Tools, as_signed, listed
from kaiwo.errors import ConfigError, IntegrityError, UnsafeNameError
from kaiwo.events import Ticked
from kaiwo.files.paths import is_within
from kaiwo.jobs import Want
from kaiwo.objects import Folder, Named, Place, RemoteObject, Shard
from kaiwo.planning import plan, prune
from kaiwo.planning.gather import Listing
from kaiwo.planning.snapshots import in_snapshots
from kaiwo.protocols import Sink
from kaiwo.shards import finished, objects, plan_file, trust
from kaiwo.shards.plan_file import SharedPlan
from kaiwo.shards.results import Results
from kaiwo.shards.split import Split, split
from kaiwo.state import small_files
from kaiwo.state.claims import Claim, targets_of
from kaiwo.state.folder import plan_path
from kaiwo.tasks.base import Task

logger = logging.getLogger(__name__)
#: Task types whose stores serve any range of an object that is identified.
IN_PARTS = ("s3", "gcs", "azure-blob", "hf")
#: A plan that is so old is probably not meant any more.
OLD_S = 24 * 3600.0


class _WrittenError(Exception):
    """The plan was written while this shard waited for the right to write it."""


class Home(Struct, frozen=True):
    """Where the shards of an order find each other.

    Attributes:
        order: what all of them are to do.
        shard: this one.
        root: whose state folder has the plan.
        roots: of all targets.
    """

    order: Order
    shard: Shard
    root: str
    roots: tuple[str, ...]

    @property
    def path(self) -> str:
        """Of the plan."""
        return plan_path(self.root, None, self.shard.job)

    @property
    def places(self) -> tuple[Place, ...]:
        """What the shard claims in each root while it is at work."""
        job, index = self.shard.job, self.shard.index
        return tuple(Place(f"{plan_path(each, None, job)}-{index}", each) for each in self.roots)

    def results(self, found: SharedPlan) -> Results:
        """How the shards of a plan ended."""
        return Results(self.root, found.digest, found.token, found.shards)


def home_of(order: Order, shard: Shard) -> Home:
    """Where the shards of an order find each other.

    Raises:
        ConfigError: the order has no target, or asks for what shards do not do.
    """
    # What is stale must have been there before the listing, and that is another shard's.
    pruned = (("prune", want) for want, _, _ in prune.pruned(order.asked))
    switched = (("publish: snapshot", want) for want, _ in in_snapshots(order.asked))
    for what, want in (*pruned, *switched):
        raise ConfigError(
            f"{want.where}: {what} and shard exclude each other: leave one of them out"
        )
    places = map(_place_of, order.asked)
    roots = sorted({place.root for place in places if place is not None})
    if not roots:
        raise ConfigError("there is nothing to download, so there is no plan for shards")
    root = order.download_root if order.download_root in roots else roots[0]
    return Home(order, shard, root, tuple(roots))


def joined(home: Home, tools: Tools, sink: Sink) -> tuple[SharedPlan | None, Split, Listing]:
    """The plan without its objects, its split and its listing.

    Without a plan, its listing has failed.

    Raises:
        IntegrityError: there is another plan.
        UnsafeNameError: see ``plan.draft``.
    """
    found = _followed(home)
    if found is None:
        found, listing = _made(home, tools, sink)
        if found is None:
            return None, split((), 1), listing
    listing = _listing(home, found, tools, sink)
    return replace(found, items=()), found.split(), listing


def still_followed(home: Home, found: SharedPlan) -> bool:
    """Whether the plan is still the one that all shards follow."""
    now = plan_file.read(home.path)
    return now is not None and now.digest == found.digest


def _followed(home: Home) -> SharedPlan | None:
    """The plan that is there and is to be followed.

    Raises:
        IntegrityError: it is another one than this shard's.
    """
    found = plan_file.read(home.path)
    if found is None or (not home.shard.job and home.results(found).are_complete):
        return None
    head, shard = found.head, home.shard
    why = ""
    if head.shards != shard.count:
        why = f"is for {head.shards} shards, and this one is {shard}"
    elif head.of != _digest(home) or head.lock != _lock_digest(home.order):
        why = "is of another configuration or lock than this shard"
    if why:
        raise IntegrityError(
            f"the plan of all shards, {home.path}, {why}: what it leaves to other shards would be "
            "lost; start all shards alike. To give that plan up: `kaiwo clean --yes --partial` "
            f"with the folder {home.root}; to have two beside each other: --shard-job"
        )
    return found


def _place_of(want: Want) -> Place | None:
    """Where an object of a want goes; None if its key may not be a path."""
    match want.selection:
        case Folder(prefix):
            key = f"{prefix}x"
        case Named(keys):
            key = keys[0]
    try:
        # Below a repository's folder, the place depends on etag and commit, too.
        return want.placement.place(RemoteObject(key, 0, "x", "x"))
    except UnsafeNameError:
        return None


def _digest(home: Home) -> str:
    def where(want: Want) -> str:
        place = _place_of(want)
        if place is None:
            return ""
        within = is_within(place.target, home.root)
        return os.path.relpath(place.target, home.root) if within else place.target

    return plan_file.digest_of(home.order.asked, where)


def _lock_digest(order: Order) -> str | None:
    """A digest of the lock that is followed, if one is.

    Raises:
        ConfigError: it cannot be read.
    """
    if not order.settings.locked:
        return None
    try:
        with open(order.lock_file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"cannot read {order.lock_file}: {error.strerror}") from None


def _made(home: Home, tools: Tools, sink: Sink) -> tuple[SharedPlan | None, Listing]:
    """The plan that this shard, or another one meanwhile, has made."""

    def look() -> None:
        sink.emit(Ticked())
        if os.path.exists(home.path) and _followed(home) is not None:
            raise _WrittenError

    try:
        with Claim(secrets.token_hex(4), look, tools.rules.until_s) as claim:
            claim.take(targets_of((Place(home.path, home.root),)))
            if (found := _followed(home)) is None:
                # Not later: if this process sleeps while it lists, another one makes the plan.
                finished.retire(home.path, home.root, home.roots)
                listing = listed(tools, home.order.asked, sink)
                if listing.failed:
                    return None, listing
                _write(home, tools, listing)
                found = _followed(home)
    except _WrittenError:
        found = _followed(home)
    if found is None:
        raise IntegrityError(f"the plan of all shards, {home.path}, was removed meanwhile")
    return found, Listing()


def _write(home: Home, tools: Tools, listing: Listing) -> None:
    """Check a listing, and make it the plan, unless there is one now."""
    drafted = plan.draft(listing, tools.state, tools.comparison)
    for want, answers in listing.answers:
        tools.state.remember_answers(want, answers, home.roots)
    serves = {
        each.opener
        for task, wants in home.order.tasks
        if isinstance(task, Task) and task.type in IN_PARTS
        for want in wants
        for each in want.readings()
    }
    planned = list(objects.planned(listing, drafted, serves))
    in_parts = any(each.in_parts for _, some in planned for each in some)
    folders = (small_files.folder_of_state(each) for each in home.roots)
    head = plan_file.new_head(
        home.shard.count,
        _digest(home),
        _lock_digest(home.order),
        time.time(),
        shares_files=in_parts and all(map(trust.is_trusted, folders)),
    )
    plan_file.write(home.path, head, planned)
    logger.info("shard %s made the plan of all shards, %s", home.shard, home.path)


def _listing(home: Home, found: SharedPlan, tools: Tools, sink: Sink) -> Listing:
    """The objects of a plan; what a lock or signatures say of them is asked for again.

    Raises:
        IntegrityError: they say something else than the plan.
    """
    asked = home.order.asked
    of_plan = found.listing(asked)
    if home.order.settings.locked:
        listing = listed(tools, asked, sink)
    else:
        listing = as_signed(tools, asked, lambda: _unsigned(of_plan))
    if listing.failed:
        raise listing.failed[0][1]
    if list(_names(listing)) != list(_names(of_plan)):
        raise IntegrityError(
            f"the plan of all shards, {home.path}, has other objects than the lock or the "
            "signatures say now; start all shards again with another plan"
        )
    return listing


def _unsigned(listing: Listing) -> Listing:
    found = (
        (want, tuple(replace(each, signed=None) for each in objects))
        if want.signature is not None
        else (want, objects)
        for want, objects in listing.found
    )
    return replace(listing, found=tuple(found))


def _names(listing: Listing) -> Iterator[tuple[object, ...]]:
    for want, found in listing.found:
        yield want.opener.origin, len(found)
        yield from ((each.key, each.size, each.signed) for each in found)


def announce(home: Home, found: SharedPlan) -> None:
    """Say which plan is followed; warn of an old one."""
    made_s = found.head.made_s
    ended = home.results(found).read()
    done = sum(result.exit_code == 0 for result in ended.values())
    text = "shard %s of plan %s, made %s: %d of %d shards are done"
    words = (home.shard, found.digest[:8], units.timestamp(made_s), done, found.shards)
    logger.info(text, *words)
    if time.time() - made_s > OLD_S:
        logger.warning(
            "the plan of all shards was made %s: what came to the source since then is not in it; "
            "`kaiwo clean --yes --partial` with the folder %s gives it up",
            units.timestamp(made_s),
            home.root,
        )
