"""A line between clients and a service, simulated event by event: no thread, no clock, no waiting.

    request   the service takes it or refuses it, waits, and sends the body
    body      at the rate of its connection, or at its share of the bottleneck, if that is less;
              what some leave of their shares goes to the others (max-min fairness)
    pieces    are reported as they arrive, or the whole request at its end

Rates change only when a body starts or ends, or the line itself changes: between two events each
body advances evenly.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from kaiwo.engine.request_limit import Change, RequestLimit

MIB = 1 << 20
RANGE = 8 * MIB
#: A client's turns: the dispatcher looks at its limits at least this often.
TURN_S = 0.05
#: A connection that starts has this part of its rate, while TCP finds out how much there is.
COLD = 8


@dataclass(eq=False)
class Request:
    client: Client
    size: int
    cap: float
    asked_s: float
    first_s: float = 0.0
    arrived: float = 0.0
    reported: int = 0
    rate: float = 0.0
    since_s: float = 0.0
    version: int = 0
    is_cold: bool = False


class Simulation:
    """Time, and what happens when."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), event))

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        self.at(self.now_s + delay_s, event)

    def run(self, until_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        while self._events and self._events[0][0] <= until_s and not is_over():
            self.now_s, _, event = heapq.heappop(self._events)
            event()


@dataclass(eq=False)
class Line:
    """What all clients share.

    Attributes:
        latency_s: from a request to its first byte.
        connection_rate: bytes a second of each connection.
        capacity: bytes a second of all together.
        connections: how many requests the service serves at once; others are refused.
        request_rate: how many requests a second it takes; further ones are refused.
        burst: how many more than that it takes at once.
        queue: how many requests it works on at once; others wait for their first byte.
        noise: each connection's rate and latency differ by up to this part.
        sway: all rates together change by up to this part, about once a second.
        warm_up_s: on a new connection a body has an eighth of its rate for this long.
        is_down: the service refuses everything.
        bodies: requests whose bodies are under way.
        open: requests that it serves.
        refusals: requests that it refused.
    """

    simulation: Simulation
    seed: int
    latency_s: float = 0.03
    connection_rate: float = 25e6
    capacity: float = math.inf
    connections: int | None = None
    request_rate: float | None = None
    burst: float = 20.0
    queue: int | None = None
    noise: float = 0.0
    sway: float = 0.0
    warm_up_s: float = 0.0
    is_down: bool = False
    bodies: list[Request] = field(default_factory=list)
    open: int = 0
    refusals: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._tokens, self._tokens_s = self.burst, 0.0
        self._queued: list[Request] = []
        self._working = 0
        self._factor = 1.0
        self._was_full = False
        if self.sway:
            self.simulation.after(0.0, self._sways)

    # --- requests

    def ask(self, client: Client, size: int) -> None:
        now_s = self.simulation.now_s
        cap = self.connection_rate * self._differs(self.noise)
        request = Request(client, size, cap, now_s)
        request.is_cold = not client.warm
        client.warm = max(client.warm - 1, 0)
        if not self._takes():
            self.refusals += 1
            client.warm += 1
            self.simulation.after(self._latency_s(), lambda: client.refused(request))
            return
        self.open += 1
        if self.queue is not None and self._working >= self.queue:
            self._queued.append(request)
        else:
            self._works_on(request)

    def _works_on(self, request: Request) -> None:
        self._working += 1
        self.simulation.after(self._latency_s(), lambda: self._starts(request))

    def _latency_s(self) -> float:
        return self.latency_s * self._differs(self.noise / 2)

    def _differs(self, by: float) -> float:
        return self._random.uniform(1 - by, 1 + by)

    def _takes(self) -> bool:
        if self.is_down:
            return False
        if self.connections is not None and self.open >= self.connections:
            return False
        if self.request_rate is None:
            return True
        now_s = self.simulation.now_s
        self._tokens = min(self._tokens + (now_s - self._tokens_s) * self.request_rate, self.burst)
        self._tokens_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    # --- bodies

    def _starts(self, request: Request) -> None:
        self._working -= 1
        if self._queued:
            self._works_on(self._queued.pop(0))
        request.first_s = request.since_s = self.simulation.now_s
        if request.is_cold and self.warm_up_s:
            request.cap /= COLD
            self.simulation.after(self.warm_up_s, lambda: self._is_warm(request))
        self.bodies.append(request)
        request.client.answered(request)
        self._share(request)

    def _ends(self, request: Request) -> None:
        self.bodies.remove(request)
        self.open -= 1
        request.client.warm += 1
        self._share()
        request.client.ended()

    def _is_warm(self, request: Request) -> None:
        request.cap *= COLD
        if request in self.bodies:
            self._share(everything=True)

    def widen(self, capacity: float) -> None:
        """The bottleneck has another capacity from now on."""
        self.capacity = capacity
        self._share(everything=True)

    def _sways(self) -> None:
        self._factor = self._differs(self.sway)
        self._share(everything=True)
        self.simulation.after(self._random.uniform(0.5, 1.5), self._sways)

    def _share(self, new: Request | None = None, *, everything: bool = False) -> None:
        wanted = sum(each.cap for each in self.bodies) * self._factor
        is_full = wanted > self.capacity * self._factor
        if not is_full and not self._was_full and not everything:
            if new is not None:
                self._goes_on(new, new.cap * self._factor)
            return
        self._was_full = is_full
        level = self._level() if is_full else math.inf
        for each in self.bodies:
            self._goes_on(each, min(each.cap, level) * self._factor)

    def _level(self) -> float:
        """The share that nobody exceeds, so that all together use the capacity."""
        left = self.capacity
        caps = sorted(each.cap for each in self.bodies)
        for position, cap in enumerate(caps):
            share = left / (len(caps) - position)
            if cap >= share:
                return share
            left -= cap
        return math.inf

    def _goes_on(self, request: Request, rate: float) -> None:
        """From now on the body has this rate; its next piece comes at another time."""
        now_s = self.simulation.now_s
        request.arrived += (now_s - request.since_s) * request.rate
        request.since_s, request.rate = now_s, rate
        request.version += 1
        version = request.version
        piece = min(request.reported + request.client.piece, request.size)
        due_s = now_s + max(piece - request.arrived, 0.0) / rate

        def arrives() -> None:
            if request.version == version:
                self._arrives(request, piece)

        self.simulation.at(due_s, arrives)

    def _arrives(self, request: Request, piece: int) -> None:
        count, request.reported = piece - request.reported, piece
        if piece >= request.size:
            request.client.arrived(request, count, is_end=True)
            self._ends(request)
        else:
            request.client.arrived(request, count, is_end=False)
            self._goes_on(request, request.rate)


@dataclass(eq=False)
class Client:
    """A run of kaiwo, as the line sees it.

    Attributes:
        sizes: of its objects; large ones come in ranges.
        limit: the policy, or a constant number of requests.
        piece: bytes that are reported at once; RANGE: joined.
        starts_s: when it starts.
        turn_s: time between two looks at the limits.
        says_first_bytes: when the first byte arrives, not only at the end.
        is_busy: whether its share of the processor is used up.
        machines: that do the work, each with so many requests.
        bytes: that arrived.
        requests: that ended.
        in_flight: requests that are under way.
        warm: connections that are open and idle.
        refusals: requests that were refused.
        ended_s: when all was there.
        changes: of the limit, and when.
    """

    line: Line
    sizes: Iterable[int]
    limit: RequestLimit | int
    piece: int = MIB
    starts_s: float = 0.0
    turn_s: float = TURN_S
    says_first_bytes: bool = True
    is_busy: Callable[[], bool] = lambda: False
    machines: int = 1
    bytes: int = 0
    requests: int = 0
    in_flight: int = 0
    warm: int = 0
    refusals: int = 0
    ended_s: float | None = None
    changes: list[tuple[float, Change]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ranges = cut(self.sizes)
        self._again: list[int] = []
        self._random = random.Random(self.line.seed + 1)
        self._waiting = 0
        self.line.simulation.at(self.starts_s, self._turns)

    @property
    def allowed(self) -> int:
        each = self.limit if isinstance(self.limit, int) else self.limit.limit
        return each * self.machines

    @property
    def now_s(self) -> float:
        return self.line.simulation.now_s

    @property
    def is_over(self) -> bool:
        return self.ended_s is not None

    def _turns(self) -> None:
        if self.is_over:
            return
        self._fill()
        if isinstance(self.limit, RequestLimit):
            on_each = self.in_flight // self.machines
            self._note(
                self.limit.step(self.now_s, on_each, machines=self.machines, is_busy=self.is_busy())
            )
            self._fill()
        self.line.simulation.after(self.turn_s, self._turns)

    def _note(self, change: Change | None) -> None:
        if change is not None:
            self.changes.append((self.now_s, change))

    def _fill(self) -> None:
        while self.in_flight < self.allowed and not self.is_over:
            size = self._again.pop() if self._again else next(self._ranges, None)
            if size is None:
                if not self.in_flight and not self._waiting:
                    self.ended_s = self.now_s
                return
            self.in_flight += 1
            self.line.ask(self, size)

    # --- what the line reports

    def answered(self, request: Request) -> None:
        if self.says_first_bytes and isinstance(self.limit, RequestLimit):
            self.limit.note(self.now_s, first_byte_s=self.now_s - request.asked_s)

    def arrived(self, request: Request, count: int, *, is_end: bool) -> None:
        self.bytes += count
        if not isinstance(self.limit, RequestLimit):
            return
        first_byte_s = rate = None
        if is_end:
            if not self.says_first_bytes:
                first_byte_s = request.first_s - request.asked_s
            if request.size >= MIB // 4:
                rate = request.size / max(self.now_s - request.first_s, 1e-6)
        self.limit.note(
            self.now_s,
            bytes=count,
            requests=int(is_end),
            first_byte_s=first_byte_s,
            connection_rate=rate,
        )

    def ended(self) -> None:
        self.in_flight -= 1
        self.requests += 1
        self._fill()

    def refused(self, request: Request) -> None:
        self.in_flight -= 1
        self.refusals += 1
        self._waiting += 1
        if isinstance(self.limit, RequestLimit):
            self._note(self.limit.refused(self.now_s))

        def again() -> None:
            self._waiting -= 1
            self._again.append(request.size)
            self._fill()

        self.line.simulation.after(self._random.uniform(0.1, 0.5), again)


def cut(sizes: Iterable[int]) -> Iterator[int]:
    """Large objects in ranges; lazily."""
    for size in sizes:
        for start in range(0, size, RANGE):
            yield min(RANGE, size - start)
