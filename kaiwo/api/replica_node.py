"""A node: a worker that carries out a whole plan on its own disk, and shares it with the others.

Everything is as in any run: the node's own plan, claims, checks, publication, memory. Only what was
listed is given, and bytes come from the other nodes, too. See ``kaiwo.replicas``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from msgspec.structs import replace

from kaiwo import environment, redact
from kaiwo._version import __version__
from kaiwo.api.orders import Order
from kaiwo.api.replica_events import NodeSink, told_records
from kaiwo.api.rounds import Rounds
from kaiwo.api.tools import Tools
from kaiwo.config.settings import PREFIX
from kaiwo.errors import (
    BugError,
    ConfigError,
    Interrupted,
    KaiwoError,
    UnfinishedError,
    cause_of,
)
from kaiwo.jobs import RANGE, Plan, Transfer, Want
from kaiwo.net import proxies
from kaiwo.objects import Report
from kaiwo.planning.gather import Listing
from kaiwo.planning.plan import Draft
from kaiwo.protocols import Opener
from kaiwo.replicas.blocks import Block
from kaiwo.replicas.calls import NodeCall, NodeEnd, Place, Work, unheard
from kaiwo.replicas.members import Members
from kaiwo.replicas.node import Node
from kaiwo.replicas.peers import DaskPeers
from kaiwo.replicas.seats import Served, served
from kaiwo.replicas.sharing import SharedOpener, SharedSource
from kaiwo.workers.source_cache import close_source, collect_sources, open_source
from kaiwo.workers.threads import ENDS_IN_S, WorkerThreads, working_until

#: Blocks that are read at once for other nodes, before the run comes to them.
_DEMANDS = 3
#: Bytes of the plan, or small objects: more would be lost with a node that is killed.
_AHEAD, _MOST_AHEAD = 32 << 20, 2048


def run_node(call: NodeCall) -> NodeEnd:
    """Carry out a plan on this worker of Dask; never raises.

    Executors log what was called when it raises.
    """
    try:
        return _ended(call)
    finally:
        collect_sources()  # what ended the run holds the sources that it was reading from


def _ended(call: NodeCall) -> NodeEnd:
    try:
        _require_version(call)
        seat = served(call.run)
        with redact.marked(), working_until(seat):
            return _carried_out(call, seat)
    except UnfinishedError:  # this process does not know the run
        return unheard()
    except (KaiwoError, Interrupted) as error:
        cause = cause_of(error)
        return NodeEnd(cause.exit_code or 1, error=cause)
    except BaseException as error:
        text = f"this is a bug in kaiwo; please report it: {type(error).__name__}"
        return NodeEnd(BugError.exit_code, error=BugError(text))


def _require_version(call: NodeCall) -> None:
    if call.version != __version__:
        raise ConfigError(f"this worker has kaiwo {__version__}, and the run {call.version}")


@environment.cleaned(proxies.canonical)
def _carried_out(call: NodeCall, seat: Served) -> NodeEnd:
    begun_s, work = time.monotonic(), call.work()
    order = _own_order(work)
    address = str(seat.worker.address)
    members = Members(address, call.first)
    node = Node(members, DaskPeers(seat.worker, call.run, members))
    order = _shared(order, node)
    listing = _listing(work, order)
    node.know((want.opener, remote) for want, objects in listing.found for remote in objects)
    sink = NodeSink(node, seat)
    rounds = _NodeRounds(order, sink, listing, node)
    error: KaiwoError | None = None
    with _serving(seat, node, sink):
        try:
            rounds.run()
        except BaseException as failure:
            if not isinstance(failure, Exception | Interrupted):
                raise
            error = cause_of(failure)
    report = rounds.report(error)
    if seat.is_set() and report.exit_code:
        return unheard()
    return NodeEnd(
        report.exit_code,
        order.download_root,
        report.items,
        report.error,
        node.brought.store,
        node.brought.peers,
        time.monotonic() - begun_s,
    )


def _own_order(work: Work) -> Order:
    """The order, below this worker's own download root."""
    order: Order = work.again(os.environ.get(f"{PREFIX}DOWNLOAD_ROOT") or None)
    settings = order.settings.model_copy(
        update={
            "dask": None,
            "shard": None,
            "replicate": True,
            "deadline": work.left_s,
            "verify": "checksum" if work.locked else order.settings.verify,
        }
    )
    return replace(order, settings=settings)


def _shared(order: Order, node: Node) -> Order:
    """The order, with sources that share what they read."""
    openers: dict[Opener, SharedOpener] = {}
    wants: dict[int, Want] = {}

    def shared(want: Want) -> Want:
        if id(want) not in wants:
            opener = openers.setdefault(want.opener, SharedOpener(want.opener, node))
            other = None if want.otherwise is None else shared(want.otherwise)
            wants[id(want)] = replace(want, opener=opener, otherwise=other)
        return wants[id(want)]

    tasks = tuple((task, tuple(map(shared, all_))) for task, all_ in order.tasks)
    return replace(order, tasks=tasks, asked=tuple(map(shared, order.asked)))


def _listing(work: Work, order: Order) -> Listing:
    """What was listed, as this node's wants have it."""

    def want_of(place: Place) -> Want:
        number, reading = place
        return list(order.asked[number].readings())[reading]

    return Listing(
        tuple((want_of(place), objects) for place, objects in work.found),
        tuple((want_of(place), error) for place, error in work.failed),
        locked=work.locked,
    )


class _NodeRounds(Rounds):
    """The rounds of a node: of what was listed elsewhere.

    Args:
        order: with sources that share.
        sink: hears what happens.
        listing: what was listed.
        node: this one.
    """

    def __init__(self, order: Order, sink: NodeSink, listing: Listing, node: Node) -> None:
        super().__init__(order, sink, lambda _: None, None, raises=False)
        self._given = listing
        self._node, self._hears = node, sink

    def _list(self, tools: Tools, asked: Sequence[Want], patience_s: float | None) -> Listing:  # noqa: ARG002
        return self._given

    def _fetch(self, tools: Tools, drafted: Draft, listing: Listing) -> None:
        missing = tuple((replace(each, replicated=True), there) for each, there in drafted.missing)
        super()._fetch(tools, replace(drafted, missing=missing), listing)

    def _execute(self, closed: Plan, tools: Tools) -> Report:
        tools.state.follower = self._node.note_marks
        self._hears.expect(closed)
        ahead = replace(closed, transfers=_own_ahead(closed.transfers, self._node))
        return super()._execute(ahead, tools)


def _own_ahead(transfers: Sequence[Transfer], node: Node) -> tuple[Transfer, ...]:
    """The order of a plan, but small objects that this node owns come earlier.

    By the same order, each node would wait for others that wait for it: so it has what it owns some
    time before others come to that. Not all of it first: stores and nodes send at the same time.
    """
    places: list[int] = []
    place = 0
    for each in transfers:
        if each.object.size > RANGE:
            places.append(-_AHEAD)
            continue
        places.append(place - _AHEAD if node.reads(each) else place)
        place += max(each.object.size, _AHEAD // _MOST_AHEAD)
    return tuple(transfers[at] for at in sorted(range(len(transfers)), key=places.__getitem__))


@contextlib.contextmanager
def _serving(seat: Served, node: Node, sink: NodeSink) -> Iterator[None]:
    """Inside the block, the node's run goes on; what it has is given to others also afterwards."""
    threads = WorkerThreads(_DEMANDS, "kaiwo-demand")

    def bring(block: Block) -> Future[bytes]:
        return threads.submit(_brought, node, block, seat)

    def close() -> None:
        node.shelf.bring = None
        threads.shutdown(wait=False, cancel_futures=True)
        for opener in {opener for opener, _ in node.objects}:
            close_source(opener)

    seat.told, seat.close = sink.told, close
    node.shelf.bring = bring
    seat.node = node
    try:
        with told_records(sink):
            yield
    finally:
        close()
        threads.join(ENDS_IN_S)


def _brought(node: Node, block: Block, seat: Served) -> bytes:
    """A block from the store.

    Raises:
        KaiwoError: it cannot be had now.
    """
    opener, remote = node.objects[block.number]
    with redact.marked(), working_until(seat):
        source = open_source(opener)
        if not isinstance(source, SharedSource):
            raise BugError("a node has another source")
        return source.bring(block, remote)
