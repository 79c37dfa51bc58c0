"""A run whose workers each have all objects on their own disk: listed once, carried out on each.

    here           the listing; which nodes there are; what they say; the report
    on each node   all else, see ``replica_node``

A node that joins gets the same plan. One that leaves is said to be gone. The run is over when all
nodes that the cluster has are.
"""

from __future__ import annotations

import logging
import posixpath
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kaiwo import units
from kaiwo.api.carrying import secret_files, told_secret
from kaiwo.api.rounds import Rounds
from kaiwo.api.tools import opened
from kaiwo.errors import BugError, KaiwoError, first_exit_code
from kaiwo.files.paths import is_within
from kaiwo.jobs import Plan
from kaiwo.objects import Item, NodeOutcome, RemoteObject, Report
from kaiwo.planning.snapshots import require_places
from kaiwo.replicas.calls import Place, Work
from kaiwo.workers.source_cache import collect_sources

if TYPE_CHECKING:
    from kaiwo.replicas.seen import NodeSeen

logger = logging.getLogger(__name__)
#: The worst state of an object on any node is that of the report.
_WORST = ("failed", "downloaded", "resumed", "unchanged")


class ReplicaRounds(Rounds):
    """The rounds of such a run, as its client has them; arguments as those of ``Rounds``."""

    _nodes: Sequence[NodeSeen] = ()

    def run(self) -> None:
        """List, and have every node carry it out."""
        with opened(self._order, self._begun_s) as tools:
            self.listing = self._list(tools, self._order.asked, None)
            if self._ends(self.listing) or not self.listing.found:
                self._execute(Plan(missed=self.listing.missed), tools)
                return
            require_places(self.listing)
        collect_sources()
        self._replicate(self._work())

    def _replicate(self, work: Work) -> None:
        from kaiwo.api.replica_node import run_node  # noqa: PLC0415
        from kaiwo.remote.reaching import connect  # noqa: PLC0415 - few runs have a cluster
        from kaiwo.replicas.nodes import Nodes  # noqa: PLC0415

        settings = self._order.settings
        until_s = None if settings.deadline is None else self._begun_s + settings.deadline
        with connect(settings.dask or "", settings.startup_wait, until_s) as client:
            nodes = Nodes(
                client,
                secrets.token_hex(8),
                work,
                run_node,
                secret_files(self._order),
                self._sink,
                settings.startup_wait,
                until_s,
                only_encrypted=told_secret(self._order) is not None,
            )
            self._nodes = nodes.seen
            try:
                nodes.carry_out()
            finally:
                nodes.end()
        for each in self._nodes:
            logger.info("%s", _described(each.outcome))

    def _work(self) -> Work:
        """What each node is to do."""
        again, listing = self._order.again, self.listing
        if again is None:
            raise BugError("this order cannot be made again on a node")
        places: dict[int, Place] = {
            id(want): (number, reading)
            for number, asked in enumerate(self._order.asked)
            for reading, want in enumerate(asked.readings())
        }
        return Work(
            again,
            tuple((places[id(want)], tuple(map(_readable, some))) for want, some in listing.found),
            tuple((places[id(want)], error) for want, error in listing.failed),
            listing.locked,
        )

    def report(self, error: KaiwoError | None = None) -> Report:
        """The report so far: of each object its worst state on any node."""
        report = super().report(error)
        if not self._nodes:
            return report
        outcomes = tuple(each.outcome for each in self._nodes)
        transferred = sum(each.store_bytes for each in outcomes)
        report = replace(report, nodes=outcomes, transferred_bytes=transferred)
        if error is not None:
            return report
        # One that is gone does not count: the others are all that there is.
        there = [each for each in outcomes if each.state != "gone"]
        code = first_exit_code(each.exit_code for each in there if each.exit_code)
        reason = next((each for each in there if each.exit_code == code and each.error), None)
        if not code or reason is None or reason.error is None:
            return replace(report, exit_code=code)
        return replace(report, exit_code=code, error=_of_node(reason.error, reason.address))

    def _settled(self) -> Sequence[Item]:
        items: dict[tuple[str, str, str], Item] = {}
        for node in self._nodes:
            for each in node.items:
                item = self._here(each, node)
                key = item.task, item.source, item.target
                before = items.get(key)
                is_worse = before is None or _rank(item) < _rank(before)
                items[key] = item if is_worse or before is None else before
        return (*super()._settled(), *items.values())

    def _here(self, item: Item, node: NodeSeen) -> Item:
        """The item, with its target below this machine's download root."""
        root, own = node.outcome.root, self._order.download_root
        if root and root != own and item.target and is_within(item.target, root):
            item = replace(item, target=posixpath.join(own, posixpath.relpath(item.target, root)))
        if item.error is None:
            return item
        return replace(item, error=_of_node(item.error, node.outcome.address))


def _readable(remote: RemoteObject) -> RemoteObject:
    """An object whose parts can be read: Xet gives only all of it."""
    return remote if remote.stream_id is None else replace(remote, stream_id=None)


def _rank(item: Item) -> int:
    return _WORST.index(item.status)


def _of_node(error: KaiwoError, address: str) -> KaiwoError:
    """The error, with the node where it came."""
    return type(error)(f"on {address}: {error.message}", *error.args[1:])


def _described(outcome: NodeOutcome) -> str:
    came = f"{units.size(outcome.store_bytes)} from the store"
    came += f", {units.size(outcome.peer_bytes)} from other nodes"
    return f"node {outcome.address}: {outcome.state}, {came}"
