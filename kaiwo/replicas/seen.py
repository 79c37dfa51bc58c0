"""A node, as the client of its run sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from msgspec import structs

from kaiwo.errors import KaiwoError, ServiceError
from kaiwo.objects import Item, NodeOutcome
from kaiwo.remote.faults import described
from kaiwo.replicas.calls import NodeEnd


class NodeSeen:
    """A node, as the run sees it.

    Args:
        address: of the worker.

    Attributes:
        outcome: what is known of it.
        items: of its report, once it has ended.
        begun: its run, once that has begun.
        asked: a question to it that is under way.
        asked_s: when that was sent.
        heard_s: when it last said something, or ended.
        has_ended: whether its run has ended.
        was_ended: whether it had when the question was sent.
        is_settled: it has ended, and all that it had to say is known.
    """

    def __init__(self, address: str) -> None:
        self.outcome = NodeOutcome(address, "failed")
        self.items: Sequence[Item] = ()
        self.begun: Future[NodeEnd] | None = None
        self.asked: Future[Mapping[str, Any]] | None = None
        self.asked_s = self.heard_s = 0.0
        self.has_ended = self.was_ended = False
        self.is_settled = False

    @property
    def address(self) -> str:
        """Of the worker."""
        return self.outcome.address

    def leave(self) -> KaiwoError | None:
        """It is not there any more; returns why it had failed, if it had.

        What it had not done does not count any more, and is told.
        """
        error = self.outcome.error
        if self.has_ended and self.outcome.exit_code and error is None:
            error = next((each.error for each in self.items if each.error is not None), None)
        self.outcome = structs.replace(self.outcome, state="gone", error=error)
        self.items = ()
        if self.begun is not None:
            self.begun.cancel()  # Dask would do it again on a worker that comes by this address
        return error

    def ended(self) -> NodeEnd | None:
        """What its run has ended with; None if it goes on, or that was taken before."""
        if self.has_ended or self.begun is None or not self.begun.done():
            return None
        try:
            return self.begun.result()
        except BaseException as error:
            # A worker that is being lost, or that does not have this kaiwo.
            text = f"its run did not end well: {described(error)}"
            return NodeEnd(ServiceError.exit_code, error=ServiceError(text))

    def take(self, end: NodeEnd, now_s: float) -> None:
        """Its run has ended like that."""
        self.has_ended, self.heard_s = True, now_s
        self.items = end.items
        self.outcome = NodeOutcome(
            self.address,
            "failed" if end.exit_code else "complete",
            end.root,
            end.store,
            end.peers,
            end.seconds,
            end.error,
            end.exit_code,
        )
