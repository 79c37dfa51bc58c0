"""What has become of each object so far: the report, at any moment of a run."""

from __future__ import annotations

import time
from collections.abc import Container

from msgspec import Struct, field

from kaiwo.errors import KaiwoError, exit_code_of, first_exit_code
from kaiwo.events import Settled
from kaiwo.jobs import Transfer
from kaiwo.objects import Checksum, Item, Report, Status
from kaiwo.protocols import Sink


class Ledger(Struct):
    """The items of a run's report; each is entered once, and told to the sink.

    Attributes:
        sink: is told of each item.
        transferred: object bytes that were read, repeats included.
    """

    sink: Sink
    transferred: int = 0
    _started_s: float = field(default_factory=time.monotonic)
    _items: list[Item] = field(default_factory=list)
    _settled: set[int] = field(default_factory=set)

    @property
    def settled(self) -> Container[int]:
        """The indices of the transfers that are in their final state."""
        return self._settled

    def add(self, item: Item) -> None:
        """Enter what has no transfer."""
        self._items.append(item)
        self.sink.emit(Settled(item))

    def leave_out(self, transfer: Transfer) -> None:
        """What was planned is no object: it is no part of the report."""
        self._settled.add(transfer.index)

    def enter(
        self,
        transfer: Transfer,
        status: Status,
        *,
        begun_s: float | None = None,
        attempts: int = 0,
        checksum: Checksum | None = None,
        verified: bool = False,
        error: KaiwoError | None = None,
    ) -> None:
        """The object has reached its final state.

        Args:
            transfer: the object.
            status: which state.
            begun_s: when it began, by the monotonic clock.
            attempts: how often it was tried.
            checksum: what is known of its bytes.
            verified: they were found to have that.
            error: why it failed.
        """
        self._settled.add(transfer.index)
        item = Item(
            task=transfer.task,
            source=transfer.source,
            target=transfer.target,
            status=status,
            bytes=transfer.object.size,
            seconds=0.0 if begun_s is None else time.monotonic() - begun_s,
            attempts=attempts,
            etag=transfer.object.etag,
            checksum=checksum,
            verified=verified,
            error=error,
        )
        self.add(item)

    def report(self, error: KaiwoError | None = None) -> Report:
        """The run's report so far.

        Args:
            error: what ended the run before all was done; it decides the exit code.
        """
        codes = [item.error.exit_code for item in self._items if item.error is not None]
        code = first_exit_code(codes) if error is None else exit_code_of(error)
        seconds = time.monotonic() - self._started_s
        return Report(code, seconds, self.transferred, tuple(self._items), error)
