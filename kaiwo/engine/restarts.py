"""Objects that are fetched from their first byte, again or after what was there did not count.

again      nothing that has arrived counts, but what was learned of the object stays
compared   every range once more; what two reads agree on counts
"""

from __future__ import annotations

from msgspec.structs import replace

from kaiwo.engine import round_files
from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.flight import Flight
from kaiwo.engine.job_feed import JobFeed
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.events import Progressed
from kaiwo.jobs import Job, Outcome
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Sink
from kaiwo.state.state import State


class Restarts:
    """Starts objects of a run again.

    Args:
        feed: makes their jobs.
        dispatcher: runs jobs.
        digests: running checksums.
        state: has the journals.
        sink: gets an event for bytes that have to be read again.
    """

    def __init__(
        self,
        feed: JobFeed,
        dispatcher: Dispatcher[Job, tuple[Outcome, ...]],
        digests: RunningDigests,
        state: State,
        sink: Sink,
    ) -> None:
        self._feed = feed
        self._dispatcher = dispatcher
        self._digests = digests
        self._state = state
        self._sink = sink

    def feed(self, flight: Flight) -> None:
        """All jobs of the object, after those that were fed before for its service."""
        self._dispatcher.feed(self._feed.jobs([flight.transfer]), flight.transfer.opener.service)

    def again(self, flight: Flight) -> None:
        """Fetch the object again."""
        self.forget(flight)
        self.feed(flight)

    def again_as(self, flight: Flight, now: RemoteObject) -> None:
        """Fetch the object as it is now; what was learned of another one is forgotten, too."""
        self.forget(flight)
        flight.large = None
        flight.wrong.clear()
        flight.transfer = replace(flight.transfer, object=now)
        self.feed(flight)

    def compared(self, flight: Flight) -> None:
        """Read its ranges again, to be compared; or all of it, if it has none."""
        if flight.large is None:
            self.again(flight)
            return
        self.reset_counts(flight)
        ranges = self._feed.while_current(flight.large.ranges_again())
        self._dispatcher.feed(ranges, flight.transfer.opener.service)

    def forget(self, flight: Flight) -> None:
        """Forget what arrived, but not what was learned of the object."""
        round_files.drop(flight.transfer, self._state)
        self._digests.forget(flight.transfer)
        self.reset_counts(flight)
        flight.next_round(self._state.run)

    def reset_counts(self, flight: Flight) -> None:
        """All of it must be read again."""
        received, kept = flight.reset_counts()
        self._sink.emit(Progressed(-received, flight.transfer.source, -kept))
