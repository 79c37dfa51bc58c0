"""What a worker of Dask answers as a node of a run: to the other nodes, and to the run itself.

The answers are handlers of the worker, so that they come by its connections, and by its TLS. They
are there from the moment when the worker is asked whether it can be used until the run is over: a
node that is complete gives to those that come late.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed import get_worker
from distributed.comm.core import Comm
from distributed.core import Status
from distributed.protocol.serialize import to_serialize

from kaiwo import checksums
from kaiwo.remote.probing import probe
from kaiwo.replicas.blocks import Block
from kaiwo.replicas.calls import ASK, TELL, packed
from kaiwo.replicas.node import Node
from kaiwo.replicas.peers import ANSWERS_S
from kaiwo.replicas.seats import Served, seats
from kaiwo.replicas.shelf import Has
from kaiwo.replicas.stored import CHECK

#: A question is answered after this time at the latest.
_WAITS_S = 2.0
#: A block that its run has not begun with is read on demand after this time.
_DEMANDED_S = 0.5
#: Threads that read what is sent.
_THREADS = 2


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Read blocks from files."""
    return ThreadPoolExecutor(_THREADS, "kaiwo-shelf")


def open_node(run: str, secret_files: Sequence[str]) -> dict[str, Any]:
    """Be a node of a run from now on; see ``probing.probe`` for what is returned.

    Args:
        run: token of the run.
        secret_files: that must be readable here.
    """
    worker = get_worker()
    seats.open(run, Served(worker))
    worker.handlers[ASK] = _on_ask
    worker.handlers[TELL] = _on_tell
    return probe((), secret_files)


async def _on_tell(run: str, living: Sequence[str], ends: bool) -> dict[str, Any]:
    """The run says that it goes on, and asks what is new; or it is over."""
    found = seats.of(run)
    if found is None:
        return {}
    found.hear(living)
    told = found.told()
    if ends:
        seats.end(run)
    return {"told": packed(told)}


async def _on_ask(
    comm: Comm, run: str, block: tuple[int, int], start: int, end: int, waits: bool
) -> Any:
    """Another node asks for bytes of a block."""
    found = seats.of(run)
    if found is None:
        return {"has": Has.NEVER.value}
    asked = Block(*block)
    has = await _awaited(found, asked, waits=waits)
    if found.node is None:
        return {"has": has.value}
    if has is not Has.HERE:
        # What is read from the store does not come sooner because other nodes give something.
        node, is_read = found.node, has is Has.COMING
        return {"has": has.value, "progress": node.brought.store if is_read else node.progress}
    async with found.turns:
        answer = await _read(found.node, asked, start, end)
        if answer is None:
            has = Has.NOT_YET if waits else Has.NEVER
            return {"has": has.value, "progress": found.node.progress}
        try:
            await asyncio.wait_for(comm.write(answer), ANSWERS_S)
        except (TimeoutError, OSError):
            comm.abort()
    return Status.dont_reply


async def _read(node: Node, block: Block, start: int, end: int) -> dict[str, Any] | None:
    """An answer with bytes; None if they are not there, after all."""

    def read() -> dict[str, Any] | None:
        data = node.shelf.read(block)
        if data is None:
            return None
        part = memoryview(data)[start:end]
        return {"crc": checksums.crc(CHECK, part), "data": to_serialize(part)}

    return await asyncio.get_running_loop().run_in_executor(_threads(), read)


async def _awaited(found: Served, block: Block, *, waits: bool) -> Has:
    """Whether a block is here, once that is so, or after a moment."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    while True:
        node = found.node
        has = Has.NOT_YET if node is None else node.shelf.has(block)
        left_s = begun_s + _WAITS_S - loop.time()
        if not waits or has in (Has.HERE, Has.NEVER) or left_s <= 0:
            return has
        if node is None:
            await asyncio.sleep(min(0.05, left_s))
            continue
        if has is Has.NOT_YET:
            left_s = min(left_s, begun_s + _DEMANDED_S - loop.time())
            if left_s <= 0:
                node.shelf.demand(block)
                left_s = min(0.1, _WAITS_S)
        await _news(node, block, left_s)


async def _news(node: Node, block: Block, most_s: float) -> None:
    """Return when there is news of a block, or after this time."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the worker has ended
            loop.call_soon_threadsafe(came.set)

    before = node.shelf.has(block)
    node.shelf.when_changed(block, tell)
    try:
        if node.shelf.has(block) is before:
            await asyncio.wait_for(came.wait(), most_s)
    except TimeoutError:
        pass
    finally:
        node.shelf.forget(block, tell)
