"""What became of each object: in place, failed or left out. The report, at any moment of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from kaiwo.engine import locked as locks
from kaiwo.engine import round_files
from kaiwo.engine.flight import Flight, Flights
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.errors import KaiwoError, PlaceholderError, exit_code_of, first_exit_code
from kaiwo.events import Settled
from kaiwo.jobs import Outcome, Plan, Transfer
from kaiwo.objects import Checksum, Item, RemoteObject, Report, Status
from kaiwo.protocols import Sink
from kaiwo.state.state import State

logger = logging.getLogger(__name__)


class Settlement:
    """Settles objects, each once; every item goes to the sink.

    Args:
        flights: the objects under way.
        state: what is left for a later run.
        digests: running checksums, which end with their objects.
        sink: gets an event for each item.
        after_failure: called after an object has failed.

    Attributes:
        transferred: object bytes that were read, repeats included.
    """

    def __init__(
        self,
        flights: Flights,
        state: State,
        digests: RunningDigests,
        sink: Sink,
        after_failure: Callable[[], None],
    ) -> None:
        self.transferred = 0
        self._flights = flights
        self._state = state
        self._digests = digests
        self._sink = sink
        self._after_failure = after_failure
        self._started_s = time.monotonic()
        self._items: list[Item] = []

    def enter_plan(self, plan: Plan) -> None:
        """Enter what needs no transfer: wants that failed, and objects that are in place."""
        for item in plan.missed:
            self._add(item)
        for transfer in plan.unchanged:
            checksum = transfer.object.checksum
            self._add(_item(transfer, "unchanged", checksum=checksum, verified=bool(checksum)))

    def in_place(self, flight: Flight, outcome: Outcome) -> None:
        """The object was published, or found to be in place already."""
        status: Status = "resumed" if flight.kept else "downloaded"
        if outcome.adopted:
            status = "unchanged"
        self._end(flight, None)
        self._add(
            _item(
                flight.transfer,
                status,
                flight=flight,
                checksum=outcome.checksum,
                verified=outcome.verified,
                locked=_locked(flight.transfer, outcome),
            )
        )

    def fail(self, flight: Flight, error: KaiwoError) -> None:
        """The object cannot be had. A folder's placeholder is no object and no failure."""
        error = locks.as_counted(flight.transfer, error)
        self._end(flight, error)
        if isinstance(error, PlaceholderError):
            logger.info("%s", error.message)
            self._state.remember_placeholder(flight.transfer)
            return
        checksum = flight.transfer.expected
        self._add(_item(flight.transfer, "failed", flight=flight, checksum=checksum, error=error))
        self._after_failure()

    def fail_all(self, transfers: Iterable[Transfer], error: KaiwoError) -> None:
        """Of these objects, none that is not settled can be had."""
        for transfer in transfers:
            if not self._flights.is_settled(transfer):
                self.fail(self._flights.get_or_start(transfer), error)

    def give_up(self, transfers: Iterable[Transfer], error: KaiwoError) -> None:
        """Name what the end of the run left undone."""
        for transfer in transfers:
            flight = self._flights.find(transfer)
            if flight is not None:
                self.fail(flight, error)
            elif not self._flights.is_settled(transfer):
                self._flights.settle(transfer)
                self._add(_item(transfer, "failed", error=error))

    def report(self, error: KaiwoError | None = None) -> Report:
        """The run's report so far.

        Args:
            error: what ended the run before all was done; it decides the exit code.
        """
        codes = [item.error.exit_code for item in self._items if item.error is not None]
        code = first_exit_code(codes) if error is None else exit_code_of(error)
        seconds = time.monotonic() - self._started_s
        return Report(code, seconds, self.transferred, tuple(self._items), error)

    def _end(self, flight: Flight, error: KaiwoError | None) -> None:
        """Nothing more is to be done about the object."""
        transfer = flight.transfer
        self._flights.settle(transfer)
        self._digests.forget(transfer)
        if flight.large is not None or transfer.partial is not None:
            round_files.leave(flight, self._state, error)

    def _add(self, item: Item) -> None:
        self._items.append(item)
        self._sink.emit(Settled(item))


def _item(
    transfer: Transfer,
    status: Status,
    *,
    flight: Flight | None = None,
    checksum: Checksum | None = None,
    verified: bool = False,
    error: KaiwoError | None = None,
    locked: RemoteObject | None = None,
) -> Item:
    """The object's line in the report."""
    return Item(
        task=transfer.task,
        source=transfer.source,
        target=transfer.target,
        status=status,
        bytes=transfer.length,
        seconds=0.0 if flight is None else time.monotonic() - flight.started_s,
        attempts=0 if flight is None else flight.attempts,
        etag=transfer.object.etag,
        checksum=checksum,
        verified=verified,
        error=error,
        locked=locked,
    )


def _locked(transfer: Transfer, outcome: Outcome) -> RemoteObject | None:
    """The object as it came, with its sha256, where that is wanted."""
    if outcome.digest is None:
        return None
    return replace(transfer.object, checksum=outcome.digest, unsized=False, may_be_pointer=False)
