"""What goes to a node, and what it says while it is at work and at its end."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from kaiwo._version import __version__
from kaiwo.errors import KaiwoError, ServiceError
from kaiwo.objects import Item, RemoteObject

#: What nodes understand: of each other, and of the run.
ASK, TELL = "kaiwo_ask", "kaiwo_tell"
#: Of a want, its place in the order and which of its readings it turned out to be.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class NodeCall:
    """A plan that goes to a node.

    Attributes:
        run: token of the run.
        packed: what to do, see ``Work``.
        first: the nodes that were there at the start.
        version: of the kaiwo that has packed it.
    """

    run: str
    packed: bytes = field(repr=False)
    first: tuple[str, ...] = ()
    version: str = __version__

    def work(self) -> Work:
        """What to do; only a kaiwo of the same version can tell."""
        found: Work = pickle.loads(self.packed)  # noqa: S301 - the run packed it
        return found


@dataclass(frozen=True, slots=True)
class Work:
    """What a node is to do.

    Attributes:
        again: makes the order on the node, with the node's own download root.
        found: the objects that were listed, of each want.
        failed: wants that were not listed.
        locked: these are the objects of a lock.
        left_s: seconds until the deadline of the run, if it has one.
    """

    again: Any = field(repr=False)
    found: tuple[tuple[Place, tuple[RemoteObject, ...]], ...] = field(repr=False)
    failed: tuple[tuple[Place, KaiwoError], ...] = ()
    locked: bool = False
    left_s: float | None = None

    def packed(self) -> bytes:
        """As it travels: executors log the arguments of calls that fail."""
        return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)


class Told(Struct, frozen=True):
    """What a node says while it is at work: what is new since it was last asked, and counts.

    Attributes:
        events: of its run.
        records: what kaiwo logged there: level, logger and text.
        store: bytes from the store so far.
        peers: bytes from other nodes so far.
    """

    events: Sequence[Any] = ()
    records: Sequence[tuple[int, str, str]] = ()
    store: int = 0
    peers: int = 0


class NodeEnd(Struct, frozen=True):
    """How a node ended.

    Attributes:
        exit_code: 0: it has everything.
        root: its download root.
        items: one for each object.
        error: what ended its run, if anything did.
        store: bytes from the store.
        peers: bytes from other nodes.
        seconds: how long it took.
        is_unheard: it does not know the run, or has not heard of it for too long. If the run goes
            on, it can be given the plan again.
    """

    exit_code: int
    root: str = ""
    items: Sequence[Item] = ()
    error: KaiwoError | None = None
    store: int = 0
    peers: int = 0
    seconds: float = 0.0
    is_unheard: bool = False


def unheard() -> NodeEnd:
    """How a node ends that does not know the run, or has not heard of it for too long."""
    error = ServiceError(
        "it has not heard of this run for too long: its worker was stopped or restarted meanwhile, "
        "or the scheduler does not reach it. Start kaiwo again; it then resumes"
    )
    return NodeEnd(ServiceError.exit_code, error=error, is_unheard=True)


def packed(said: Told | NodeEnd) -> bytes:
    """As it travels to the run."""
    return pickle.dumps(said, pickle.HIGHEST_PROTOCOL)


def unpacked(data: bytes) -> Any:
    """What a node of this run has packed."""
    return pickle.loads(data)  # noqa: S301 - as results of Dask's tasks are
