"""What happens on a node: its shelf hears it, and the run when it asks."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import deque
from collections.abc import Iterator

from msgspec.structs import replace

from kaiwo.errors import ChangedError, IntegrityError, Interrupted, KaiwoError, StoppedError
from kaiwo.events import Ended, Event, Joined, Planned, Progressed, Retried, Settled, Started
from kaiwo.jobs import Plan, Transfer
from kaiwo.replicas.calls import Told
from kaiwo.replicas.node import Node
from kaiwo.workers.threads import Ending

#: At most this many events and log records are told at once.
MOST_TOLD = 5_000


class NodeSink:
    """Hears what happens on a node: for the shelf, and for the run.

    Args:
        node: this one.
        seat: says whether the run is over.
    """

    def __init__(self, node: Node, seat: Ending) -> None:
        self._node, self._seat = node, seat
        self._lock = threading.Lock()
        self._transfers: dict[str, Transfer] = {}
        self._events: deque[Event] = deque()
        self._records: deque[tuple[int, str, str]] = deque(maxlen=MOST_TOLD)
        self._is_stopped = False

    def expect(self, closed: Plan) -> None:
        """These objects will be settled."""
        self._transfers |= {each.target: each for each in (*closed.transfers, *closed.unchanged)}

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``. When the run is over, its engine ends as by a signal."""
        if isinstance(event, Settled) and (found := self._transfers.pop(event.item.target, None)):
            item = event.item
            verified = item.checksum if item.verified else None
            self._node.settle(found, is_there=item.status != "failed", verified=verified)
        if isinstance(event, Retried) and _are_bytes_wrong(event.error):
            self._node.doubt(event.what)
        with self._lock:
            self._add(event)
        if self._seat.is_set() and not self._is_stopped:
            self._is_stopped = True
            raise Interrupted(StoppedError("the run is over", signal.SIGTERM))

    def _add(self, event: Event) -> None:
        """Keep what the run is to hear; which object bytes belong to is known here alone."""
        match event:
            case Progressed():
                last = self._events[-1] if self._events else None
                if isinstance(last, Progressed):
                    self._events[-1] = Progressed(
                        last.bytes + event.bytes,
                        None,
                        last.kept + event.kept,
                        last.read + event.read,
                    )
                else:
                    self._events.append(replace(event, source=None))
            case Planned() | Settled() | Retried():
                self._events.append(event)
            case Started() | Joined() | Ended() | _:
                pass

    def record(self, level: int, name: str, text: str) -> None:
        """Kaiwo logged something."""
        with self._lock:
            self._records.append((level, name, text))

    def told(self) -> Told:
        """What is new."""
        with self._lock:
            events = [self._events.popleft() for _ in range(min(len(self._events), MOST_TOLD))]
            records = list(self._records)
            self._records.clear()
        brought = self._node.brought
        return Told(events, records, brought.store, brought.peers)


def _are_bytes_wrong(error: KaiwoError) -> bool:
    """Whether bytes that came are not right; one that has changed at its store is another thing."""
    return isinstance(error, IntegrityError) and not isinstance(error, ChangedError)


class _Records(logging.Handler):
    """Tells the run what kaiwo logs on a node, from warnings on."""

    def __init__(self, sink: NodeSink) -> None:
        super().__init__(logging.WARNING)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        self._sink.record(record.levelno, record.name, record.getMessage())


@contextlib.contextmanager
def told_records(sink: NodeSink) -> Iterator[None]:
    """Inside the block, warnings of kaiwo go to the run, too."""
    handler = _Records(sink)
    logger = logging.getLogger("kaiwo")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
