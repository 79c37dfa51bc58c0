"""Everything that a run would do, as far as it can be known before the first byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from kaiwo.errors import KaiwoError, exit_code_of, first_exit_code
from kaiwo.jobs import Plan, Transfer
from kaiwo.objects import Item
from kaiwo.planning.free_space import Room
from kaiwo.planning.prune import Stale
from kaiwo.planning.snapshots import Snapshot

#: What becomes of an object. ``check``: a file of its size is there, and its checksum decides.
Action = Literal["fetch", "resume", "check", "unchanged", "failed"]


class Planned(Struct, frozen=True):
    """What becomes of one object; of a want that failed, only what was asked for is known.

    Attributes:
        action: see ``Action``.
        task: name of the task.
        source: the object's URL, without secrets.
        target: absolute path; of a want that failed empty, where only a listing tells it.
        bytes: of the object; None if its server does not state that.
        bytes_to_fetch: at most that; None if unknown.
        transfer: the object; None for a want that failed.
        item: the want that failed.
    """

    action: Action
    task: str
    source: str
    target: str
    bytes: int | None = None
    bytes_to_fetch: int | None = None
    transfer: Transfer | None = None
    item: Item | None = None


class Decision(Struct, frozen=True):
    """A plan, and what else would decide how a run of it ends.

    Attributes:
        tasks: their names, in the order of the file.
        plan: what would be done.
        rooms: the file systems where something would be written.
        error: why nothing would be done.
        stale: what would be removed once all is in place.
        switches: the snapshots that may get a new generation.
    """

    tasks: tuple[str, ...]
    plan: Plan
    rooms: tuple[Room, ...] = ()
    error: KaiwoError | None = None
    stale: tuple[Stale, ...] = ()
    switches: tuple[Snapshot, ...] = ()

    @property
    def exit_code(self) -> int:
        """That of a run, as far as it can be known."""
        if self.error is not None:
            return exit_code_of(self.error)
        missed = (item.error for item in self.plan.missed)
        return first_exit_code(error.exit_code for error in missed if error is not None)

    def planned(self) -> Iterator[Planned]:
        """What becomes of each object."""
        for each in self.plan.transfers:
            yield _planned(each)
        for each in self.plan.unchanged:
            yield Planned(
                "unchanged", each.task, each.source, each.target, each.object.size, 0, each
            )
        for item in self.plan.missed:
            yield Planned("failed", item.task, item.source, item.target, item=item)


def _planned(transfer: Transfer) -> Planned:
    size = None if transfer.object.unsized else transfer.object.size
    named = transfer.task, transfer.source, transfer.target, size
    if transfer.present:
        return Planned("check", *named, 0, transfer)
    if transfer.partial is not None and size is not None:
        return Planned("resume", *named, size - transfer.kept_bytes, transfer)
    return Planned("fetch", *named, size, transfer)
