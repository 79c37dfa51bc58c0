"""The nodes of a run, as its client sees them: the workers of a cluster.

probed       it can be used, and answers as a node from then on
begun        it has the plan
told         what it says, every half second or so; that is also how it hears that the run goes on
ended        complete, or failed: it still gives to others
gone         it has left the cluster, or does not know the run any more: if it is there, it is
             probed as if it came, and gets the plan again
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from distributed import Client
from msgspec import structs

from kaiwo.errors import DeadlineError, KaiwoError, ServiceError
from kaiwo.events import Settled, Ticked
from kaiwo.objects import NodeOutcome
from kaiwo.protocols import Sink
from kaiwo.remote import own_thread
from kaiwo.remote.meeting import Logged
from kaiwo.remote.watching import LOOK_S, Workers
from kaiwo.replicas.calls import TELL, NodeCall, NodeEnd, Told, Work, unheard, unpacked
from kaiwo.replicas.peers import loop_of
from kaiwo.replicas.seats import SILENT_S
from kaiwo.replicas.seen import NodeSeen
from kaiwo.replicas.serving import open_node

#: How often nodes are asked what is new: less where there are many, for each question costs the
#: scheduler 5 ms. And how often the run looks at what they said.
TELL_S, TELL_S_EACH, STEP_S = 0.5, 0.02, 0.05
#: At the end, nodes are waited for so long.
_ENDS_IN_S = 3.0
#: An address gets the plan again so often in turn, where nobody says anything in between.
MOST_UNANSWERED = 3
logger = logging.getLogger(__name__)


class Nodes(Workers):
    """The nodes of a run.

    Args:
        client: of the cluster; it is not closed.
        run: token of the run.
        work: what each is to do.
        run_node: does it, on the node.
        secret_files: that each must be able to read.
        sink: hears what they say.
        patience_s: see ``Workers``.
        until_s: the deadline of the run, by the monotonic clock.
        only_encrypted: see ``Workers``.

    Attributes:
        seen: all nodes that there were.
    """

    def __init__(
        self,
        client: Client,
        run: str,
        work: Work,
        run_node: Callable[[NodeCall], NodeEnd],
        secret_files: Iterable[str],
        sink: Sink,
        patience_s: float,
        until_s: float | None,
        *,
        only_encrypted: bool = False,
    ) -> None:
        super().__init__(client, patience_s, until_s=until_s, only_encrypted=only_encrypted)
        self.seen: list[NodeSeen] = []
        self._run, self._work, self._secret_files = run, work, list(secret_files)
        self._run_node = run_node
        self._packed = work.packed()
        self._sink = sink
        self._nodes: dict[str, NodeSeen] = {}
        self._first: tuple[str, ...] = ()
        #: How often an address got the plan again, and nobody there has said anything since.
        self._unanswered: dict[str, int] = {}
        self._looked_s = 0.0
        self._is_looked = False

    def carry_out(self) -> None:
        """Have all nodes carry out the plan; return when all that the cluster has are settled.

        Raises:
            KaiwoError: no worker can be used, or the cluster has none any more.
            DeadlineError: the deadline has passed.
        """
        self._wait_for_first()
        self._first = tuple(self._nodes)
        for node in self._nodes.values():
            self._begin(node)
        had_s = time.monotonic()
        while not self._are_settled():
            self._step()
            now_s = time.monotonic()
            if self._nodes and self._is_looked:
                had_s = now_s
            if now_s - had_s >= self._patience_s:
                what = "has no worker left" if self._is_reached else "is not reached any more"
                raise ServiceError(
                    f"the Dask cluster at {self._name} {what}. Start it again; kaiwo then resumes"
                )
            if self._until_s is not None and now_s >= self._until_s + _ENDS_IN_S:
                raise DeadlineError("the deadline passed before all nodes were complete")
            self._ended.wait(STEP_S)
        for address, fault in self._refused.items():
            refused = NodeSeen(address)
            refused.outcome = NodeOutcome(address, "failed", error=fault, exit_code=fault.exit_code)
            self.seen.append(refused)

    def end(self) -> None:
        """The run is over, on all nodes: nothing goes on there afterwards."""
        left = [each.begun for each in self._nodes.values() if each.begun is not None]
        waits: list[Future[Any]] = [*left]
        waits += [self._tell(each, ends=True) for each in self._nodes.values()]
        until_s = time.monotonic() + _ENDS_IN_S
        while not all(each.done() for each in waits) and time.monotonic() < until_s:
            self._ended.wait(STEP_S)
        for each in left:
            each.cancel()

    # --- workers that come and go

    @property
    def _used(self) -> Collection[str]:
        return self._nodes.keys()

    def _ask(self, address: str) -> Future[dict[str, Any]]:
        found: Future[dict[str, Any]] = self._executor(address).submit(
            open_node, self._run, self._secret_files
        )
        return found

    def _use(self, address: str) -> None:
        node = self._nodes[address] = NodeSeen(address)
        self.seen.append(node)
        if self._first:
            self._begin(node)

    def _leave(self, address: str) -> None:
        node = self._nodes.pop(address)
        if (failure := node.leave()) is None:
            logger.warning("%s has left the run; the others go on", address)
        else:
            text = "%s had failed, and has left the run; the others go on: %s"
            logger.warning(text, address, failure.message)

    def _begin(self, node: NodeSeen) -> None:
        """Send the plan to a node."""
        packed = self._packed
        if self._until_s is not None:
            left_s = max(self._until_s - time.monotonic(), 0.001)
            packed = replace(self._work, left_s=left_s).packed()
        call = NodeCall(self._run, packed, self._first)
        node.begun = own_thread.submit(self._executor(node.address), self._run_node, call)

    # --- what nodes say

    def _step(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._is_looked = self._look()
        for node in list(self._nodes.values()):
            self._take_told(node, now_s)
            self._take_end(node, now_s)
            if not self._is_here(node):
                continue
            if node.has_ended and now_s - node.heard_s >= SILENT_S:
                node.is_settled = True  # it does not answer, and will not
            every_s = max(TELL_S, TELL_S_EACH * len(self._nodes))
            is_due = now_s - node.asked_s >= every_s or (node.has_ended and not node.is_settled)
            if node.asked is None and is_due:
                node.asked_s, node.was_ended = now_s, node.has_ended
                node.asked = self._tell(node)
        self._sink.emit(Ticked())

    def _are_settled(self) -> bool:
        """Whether all nodes that the cluster has are complete, or have failed."""
        settled = all(each.is_settled for each in self._nodes.values())
        return settled and bool(self._nodes) and not self._probes and self._is_looked

    def _tell(self, node: NodeSeen, *, ends: bool = False) -> Future[Mapping[str, Any]]:
        """Say to a node that the run goes on, or not, and ask what is new."""
        message = {"op": TELL, "run": self._run, "living": [*self._nodes], "ends": ends}

        async def broadcast() -> Mapping[str, Any]:
            send: Any = getattr(self._client.scheduler, "broadcast", None)
            found: Mapping[str, Any] = await send(
                msg=message, workers=[node.address], on_error="ignore"
            )
            return found

        return asyncio.run_coroutine_threadsafe(broadcast(), loop_of(self._client.loop))

    def _is_here(self, node: NodeSeen) -> bool:
        return self._nodes.get(node.address) is node

    def _take_told(self, node: NodeSeen, now_s: float) -> None:
        if node.asked is None or not node.asked.done():
            return
        asked, node.asked = node.asked, None
        try:
            answer = asked.result().get(node.address)
        except Exception as error:  # any that a connection fails with
            logger.debug("%s says nothing: %s", node.address, type(error).__name__)
            return
        if answer is None:
            return
        if "told" not in answer:  # the process there does not know the run, or not any more
            node.is_settled = node.was_ended
            if not node.has_ended:
                self._again(node, unheard(), now_s)
            return
        node.heard_s = now_s
        self._unanswered.pop(node.address, None)
        told: Told = unpacked(answer["told"])
        node.outcome = structs.replace(node.outcome, store_bytes=told.store, peer_bytes=told.peers)
        for event in told.events:
            self._sink.emit(_of_node(event, node.address))
        for record in told.records:
            Logged(*record).repeat(node.address)
        node.is_settled = node.was_ended and not told.events

    def _take_end(self, node: NodeSeen, now_s: float) -> None:
        """Take what its run has ended with."""
        end = node.ended() if self._is_here(node) else None
        if end is None:
            return
        if end.is_unheard:
            self._again(node, end, now_s)
        else:
            node.take(end, now_s)

    def _again(self, node: NodeSeen, end: NodeEnd, now_s: float) -> None:
        """The process there does not know the run, or not any more: it gets the plan again."""
        count = self._unanswered[node.address] = self._unanswered.get(node.address, 0) + 1
        if count > MOST_UNANSWERED:
            node.take(end, now_s)
        else:
            self._renew(node.address)


def _of_node(event: Any, address: str) -> Any:
    """An event of a node, with the node where it happened."""
    if isinstance(event, Settled) and event.item.error is not None:
        error: KaiwoError = event.item.error
        named = type(error)(f"on {address}: {error.message}", *error.args[1:])
        return Settled(structs.replace(event.item, error=named))
    return event
