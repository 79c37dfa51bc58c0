"""Asks other nodes for blocks, by the connections that Dask's workers have to each other.

here      the bytes, with their checksum
coming    that node reads it from the store now, which waits for nobody: asked again, unless for
          ``PATIENCE_S`` nothing comes to it from the store. Then the next one is asked, and of what
          is coming there nothing is waited for until something comes. It may still give what it has
not yet   asked again while bytes come to that node, and for ``PATIENCE_S``
never     that node will not have it
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import Any

from distributed import Worker

from kaiwo import checksums
from kaiwo.errors import UnfinishedError
from kaiwo.protocols import Buffer
from kaiwo.replicas.blocks import Block
from kaiwo.replicas.calls import ASK
from kaiwo.replicas.members import Members
from kaiwo.replicas.node import PATIENCE_S, NotHereError
from kaiwo.replicas.shelf import Has
from kaiwo.replicas.stored import CHECK
from kaiwo.workers.threads import over

#: A node answers in this time, or it is not asked any more for now.
ANSWERS_S = 30.0
#: What arrives damaged is asked for so often.
_MOST_DAMAGED = 3
_STEP_S = 0.5


def loop_of(tornado: Any) -> asyncio.AbstractEventLoop:
    """The event loop of a worker or client of Dask."""
    found: asyncio.AbstractEventLoop = tornado.asyncio_loop
    return found


class DaskPeers:
    """See ``node.Peers``.

    Args:
        worker: of this node.
        run: token of the run.
        members: all nodes.
    """

    def __init__(self, worker: Worker, run: str, members: Members) -> None:
        self._worker = worker
        self._run = run
        self._members = members
        #: Nodes to which nothing came from the store for too long, and what had come by then.
        self._stuck: dict[str, int] = {}

    def ask(self, node: str, block: Block, start: int, end: int, *, waits: bool) -> Buffer:
        """See ``node.Peers``."""
        damaged, waits_for = 0, {Has.COMING: _Waiting(), Has.NOT_YET: _Waiting()}
        while True:
            begun_s = time.monotonic()
            answer = self._answer(node, block, start, end, waits=waits)
            if (data := answer.get("data")) is not None:
                if len(data) == end - start and checksums.crc(CHECK, data) == answer.get("crc"):
                    found: Buffer = data
                    return found
                damaged += 1
                if damaged >= _MOST_DAMAGED:
                    raise NotHereError("what it sends arrives damaged")
                continue
            has, progress = Has(answer["has"]), int(answer.get("progress", 0))
            if not waits or has is Has.NEVER:
                raise NotHereError
            is_patient = waits_for[has].goes_on(progress, time.monotonic() - begun_s)
            if has is Has.COMING:
                self._require_coming(node, progress, is_patient=is_patient)
            elif not is_patient:
                raise NotHereError("it does not begin with a block, and nothing comes there")

    def _require_coming(self, node: str, progress: int, *, is_patient: bool) -> None:
        """Return if what that node reads from the store comes there.

        Raises:
            NotHereError: it does not; others may have another line to the store.
        """
        if not is_patient:
            self._stuck[node] = progress
        elif self._stuck.get(node) != progress:
            self._stuck.pop(node, None)
            return
        raise NotHereError

    def _answer(
        self, node: str, block: Block, start: int, end: int, *, waits: bool
    ) -> Mapping[str, Any]:
        is_over, until_s = over(), time.monotonic() + ANSWERS_S
        sent = asyncio.run_coroutine_threadsafe(
            self._sent(node, block, start, end, waits=waits), loop_of(self._worker.loop)
        )
        while True:
            try:
                return sent.result(_STEP_S)
            except (CancelledError, Exception) as error:  # each transport of Dask has its own
                if sent.done():
                    text = f"{type(error).__name__} on the way"
                    raise NotHereError(text) from error
            if is_over():
                sent.cancel()
                raise UnfinishedError("the run is over")
            if not self._members.lives(node):  # Dask tries for a while to connect to it
                sent.cancel()
                raise NotHereError("it has left the cluster")
            if time.monotonic() >= until_s:
                sent.cancel()
                raise NotHereError("it does not answer")

    async def _sent(
        self, node: str, block: Block, start: int, end: int, *, waits: bool
    ) -> Mapping[str, Any]:
        ask = getattr(self._worker.rpc(node), ASK)
        answer: Mapping[str, Any] = await ask(
            run=self._run, block=tuple(block), start=start, end=end, waits=waits
        )
        return answer


class _Waiting:
    """How long nothing has come to a node that is asked for a block."""

    def __init__(self) -> None:
        self._progress = -1
        self._waited_s = 0.0

    def goes_on(self, progress: int, waited_s: float) -> bool:
        """Whether there is patience left, after these seconds with this progress."""
        if progress != self._progress:
            self._progress, self._waited_s = progress, 0.0
        else:
            self._waited_s += waited_s
        return self._waited_s < PATIENCE_S
