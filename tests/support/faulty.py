"""Fakes at kaiwo's own seams: a source with a script of faults, executors, a sink, builders.

    store = FaultyStore({"a": b"..."})
    store.script("a", fails(TransientError("reset")), wrong)    the first two reads of "a"
    store.script(("big", RANGE), short, times=2)                the first reads of it; so STREAM
    store.script(("big", STAT), fails(...))                     the first look at what it is now

A step takes the right bytes and returns what comes instead, or raises. Later they come."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import itertools
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from kaiwo import checksums
from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.rules import Rules
from kaiwo.engine.scheduler import Scheduler
from kaiwo.engine.service_health import LEAST_LOST, ServiceHealth
from kaiwo.errors import BugError, ChangedError, KaiwoError, NotFoundError, TransientError
from kaiwo.events import Event, Planned, Progressed, Retried, Settled
from kaiwo.files.paths import regular_file
from kaiwo.jobs import RANGE, Job, Outcome, Plan, Transfer
from kaiwo.objects import Item, RemoteObject, Report, same_bytes
from kaiwo.planning.gather import Listing
from kaiwo.planning.plan import Comparison, close, draft
from kaiwo.protocols import Buffer, Listed, Opener, Source
from kaiwo.state.manifest import Manifest
from kaiwo.state.records import Record
from kaiwo.state.state import State
from kaiwo.workers.source_cache import close_source
from tests.support.offering import Offering

T = TypeVar("T")
EventT = TypeVar("EventT", bound=Event)
Step = Callable[[bytes], Buffer]
#: A read of an object, of one of its ranges (its start), a stream, an inspection, a look at it.
Where = str | tuple[str, int]
STREAM = -1
INSPECT = -2
STAT = -3
MIB = 1 << 20
#: The size of an object of three ranges.
LARGE = 17 * MIB
#: How long a test waits for a condition before it fails.
PATIENCE_S = 20.0

_numbers = itertools.count()


@cache
def content(size: int, seed: int = 0) -> bytes:
    """Random bytes, the same for the same size and seed."""
    return random.Random(f"{seed}-{size}").randbytes(size)


def fails(error: Exception) -> Step:
    """The read ends with that error."""

    def step(_: bytes) -> Buffer:
        raise error

    return step


def short(data: bytes) -> Buffer:
    """The last byte is missing."""
    return data[:-1]


def wrong(data: bytes) -> Buffer:
    """One byte is another."""
    return bytes([data[0] ^ 0xFF]) + data[1:]


def xored(number: int) -> Step:
    """The first byte is another one for each number."""
    return lambda data: bytes([data[0] ^ number]) + data[1:]


def waits(event: threading.Event) -> Step:
    """The right bytes come when the event is set."""

    def step(data: bytes) -> Buffer:
        if not event.wait(PATIENCE_S):
            raise TimeoutError("nobody set the event")
        return data

    return step


class FaultyStore(Offering):
    """A bucket in memory, its source, and the counts of what was asked of it.

    Args:
        objects: their bytes by their keys.
        algorithm: of the checksums that it states; None: it states none.
        pinned: a read of another identity than the object's is refused.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes] | None = None,
        algorithm: str | None = "md5",
        *,
        pinned: bool = False,
    ) -> None:
        self.objects = dict(objects or {})
        self.algorithm = algorithm
        self.pinned = pinned
        self.stated: dict[str, RemoteObject] = {}
        self.read_as: dict[str, RemoteObject] = {}
        self.parts: dict[str, tuple[int, ...]] = {}
        self.stats: list[str] = []
        self.inspections: list[str] = []
        self.listings: list[str] = []
        self.reads: list[tuple[str, int, int]] = []
        self.streams: list[str] = []
        self.opened = self.closed = self.most_at_once = self._at_once = 0
        self.list_faults: list[Exception] = []
        self.open_faults: list[Exception] = []
        self.stat_faults: list[Exception] = []
        self.inspect_faults: list[Exception] = []
        self._scripts: dict[Where, Iterator[Step]] = {}
        self._lock = threading.Lock()

    def script(self, where: Where, *steps: Step, times: int = 1) -> None:
        """What the next reads there meet, one step each; ``times`` repeats all of the steps."""
        self._scripts[where] = iter(steps * times)

    def always(self, where: Where, step: Step) -> None:
        """What every read there meets."""
        self._scripts[where] = itertools.repeat(step)

    def remote(self, key: str) -> RemoteObject:
        """The object as the store states it: its etag is the md5 of its bytes."""
        if key in self.stated:
            return self.stated[key]
        data = self.objects.get(key)
        if data is None:
            raise NotFoundError(f"faulty://{key}: not there")
        return self._described(key, data)

    def _described(self, key: str, data: bytes) -> RemoteObject:
        etag = hashlib.md5(data).hexdigest()
        checksum = checksums.of_bytes(self.algorithm, data) if self.algorithm else None
        return RemoteObject(key, len(data), etag, None, checksum)

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        self.listings.append(prefix)
        self._raise_next(self.list_faults)
        yield from (self.remote(key) for key in list(self.objects) if key.startswith(prefix))

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self._lock:
            self.stats.append(key)
        if (step := self._due((key, STAT))) is not None:
            step(b"")
        self._raise_next(self.stat_faults)
        return self.remote(key)

    def list_asking(self, prefix: str, asks: Callable[[RemoteObject], bool]) -> Listed:  # noqa: ARG002 - the seam
        """See ``protocols.Source``."""
        return self.list(prefix), ()

    def part_lengths(self, key: str, count: int) -> tuple[int, ...] | None:  # noqa: ARG002 - the seam
        """See ``protocols.Source``."""
        return self.parts.get(key)

    def stat_by_reading(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self.read_as.get(key) or self.remote(key)

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self._lock:
            self.inspections.append(key)
        if (step := self._due((key, INSPECT))) is not None:
            step(b"")
        self._raise_next(self.inspect_faults)
        return self.remote(key)

    pin = fetch_checksum

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self._reading():
            with self._lock:
                self.reads.append((remote.key, start, end))
            return self._through(self._bytes(remote)[start:end], (remote.key, start))

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = MIB
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``; without limits, it is noted as a stream, else as a read."""
        with self._reading():
            with self._lock:
                self.streams += [remote.key] if end is None else []
                self.reads += [] if end is None else [(remote.key, start, end)]
            at = STREAM if end is None else start
            data = self._through(self._bytes(remote)[start:end], (remote.key, at))
            for at in range(0, len(data), piece):
                yield data[at : at + piece]

    def classify(self, error: Exception) -> KaiwoError:
        """See ``protocols.Source``."""
        if isinstance(error, KaiwoError):
            return error
        if isinstance(error, ConnectionError | TimeoutError):
            return TransientError(f"faulty: {type(error).__name__}")
        return BugError(f"faulty: unforeseen {type(error).__name__}")

    def close(self) -> None:
        """See ``protocols.Source``."""
        self.closed += 1

    def open(self) -> FaultyStore:
        """Itself, as an opener's ``open`` returns it."""
        self.opened += 1
        self._raise_next(self.open_faults)
        return self

    def reads_of(self, key: str) -> Counter[int]:
        """How often each range of the object was asked for, by its start."""
        return Counter(start for name, start, _ in self.reads if name == key)

    def _bytes(self, remote: RemoteObject) -> bytes:
        """Its bytes; looked up once, for another thread may replace it at any time."""
        data = self.objects.get(remote.key)
        if data is None:
            raise NotFoundError(f"faulty://{remote.key}: not there")
        if self.pinned:
            now = self.stated.get(remote.key) or self._described(remote.key, data)
            if same_bytes(remote, now) is False:
                raise ChangedError(f"faulty://{remote.key}: it is another one")
        return data

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def _through(self, data: bytes, where: tuple[str, int]) -> Buffer:
        """The data after the step that is due, if one is."""
        step = self._due(where)
        return data if step is None else step(data)

    def _due(self, where: tuple[str, int]) -> Step | None:
        """The step that is due there, if one is."""
        with self._lock:
            keys: tuple[Where, ...] = (where,) if where[1] < 0 else (where, where[0])
            steps = (next(self._scripts[each], None) for each in keys if each in self._scripts)
            return next((each for each in steps if each is not None), None)

    def _raise_next(self, faults: builtins.list[Exception]) -> None:
        with self._lock:
            if faults:
                raise faults.pop(0)


@dataclass(frozen=True)
class FaultyOpener:
    """Opens a ``FaultyStore``; two openers are never equal. For threads only."""

    store: FaultyStore = field(compare=False, repr=False)
    origin: str = "faulty://host"
    ambient: str = ""
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def service(self) -> str:
        """See ``protocols.Opener``."""
        return self.origin

    def open(self) -> Source:
        """See ``protocols.Opener``."""
        return self.store.open()

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``; there are no secrets."""
        return b""

    def url(self, key: str, version: str | None = None) -> str:  # noqa: ARG002 - the seam
        """See ``protocols.Opener``."""
        return f"faulty://bucket/{key}"


@dataclass(frozen=True)
class PatternOpener:
    """Plain data, for workers in other processes: objects whose bytes follow from their sizes.

    Attributes:
        sizes: key and size of each object.
        once: a folder; the first read of each range fails, in any process, and leaves a file
            there.
    """

    sizes: tuple[tuple[str, int], ...]
    once: str | None = None
    origin: str = "pattern://host"
    ambient: str = ""

    @property
    def service(self) -> str:
        """See ``protocols.Opener``."""
        return self.origin

    def open(self) -> Source:
        """See ``protocols.Opener``."""
        store = FaultyStore({key: content(size) for key, size in self.sizes})
        if self.once is not None:
            for key, _ in self.sizes:
                store.always(key, _FailsOnce(self.once))
        return store

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``; there are no secrets."""
        return b""

    def url(self, key: str, version: str | None = None) -> str:  # noqa: ARG002 - the seam
        """See ``protocols.Opener``."""
        return f"pattern://bucket/{key}"


@dataclass(frozen=True)
class _FailsOnce:
    folder: str

    def __call__(self, data: bytes) -> Buffer:
        name = hashlib.sha256(data).hexdigest()
        try:
            os.close(os.open(os.path.join(self.folder, name), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return data
        raise TransientError("reset, the first time", None)


class InlineExecutor(Executor):
    """Runs each job at once, in the caller's thread, and remembers it.

    Args:
        inner: runs them instead, when it is given.
    """

    def __init__(self, inner: Executor | None = None) -> None:
        self.jobs: list[Any] = []
        self.futures: list[Future[Any]] = []
        self.was_shut_down = False
        self._inner = inner

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See ``concurrent.futures.Executor``."""
        self.jobs.extend(args[:1])
        if self._inner is not None:
            future = self._inner.submit(fn, *args, **kwargs)
            self.futures.append(future)
            return future
        future = Future()
        self.futures.append(future)
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """See ``concurrent.futures.Executor``."""
        self.was_shut_down = True

    def of(self, kind: type[T]) -> list[T]:
        """The jobs of that type, in their order."""
        return [job for job in self.jobs if isinstance(job, kind)]


@dataclass
class RecordingSink:
    """Keeps every event, and the thread that emitted it."""

    events: list[Event] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self.events.append(event)
        self.threads.add(threading.get_ident())

    def of(self, kind: type[EventT]) -> list[EventT]:
        """The events of that type, in their order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def progressed(self) -> int:
        """The sum of all progress."""
        return sum(event.bytes for event in self.of(Progressed))


class PromptPolicy(RetryPolicy, frozen=True):
    """Decides as the real policy does, but never waits."""

    def delay_s(self, *args: Any, **named: Any) -> float | None:
        """See ``RetryPolicy``."""
        return None if super().delay_s(*args, **named) is None else 0.0


def large(**others: bytes) -> FaultyStore:
    """A store with one object of three ranges, and others."""
    return FaultyStore({"big": content(LARGE), **others})


def transfer_of(
    opener: Opener,
    remote: RemoteObject,
    root: Path | str,
    index: int = 0,
    *,
    present: bool = False,
    blob: str | None = None,
    run: str = "0",
) -> Transfer:
    """The transfer of an object to its own name below a root."""
    target = os.path.join(root, remote.key)
    return Transfer(
        index, run, "task", opener, remote, target, str(root), blob=blob, present=present
    )


def plan_of(
    opener: FaultyOpener,
    root: Path,
    *,
    unchanged: Sequence[Transfer] = (),
    missed: Sequence[Item] = (),
) -> Plan:
    """All objects of the store, largest first, to their own names below the root."""
    remotes = sorted(map(opener.store.remote, opener.store.objects), key=lambda each: -each.size)
    transfers = tuple(
        transfer_of(opener, remote, root, index) for index, remote in enumerate(remotes)
    )
    return Plan(transfers, tuple(unchanged), tuple(missed))


@dataclass
class Ran:
    """A run and what it left behind."""

    report: Report
    sink: RecordingSink
    executor: Executor
    root: Path

    @property
    def jobs(self) -> list[Job]:
        """What an inline executor was given."""
        assert isinstance(self.executor, InlineExecutor)
        return self.executor.jobs

    def item(self, key: str) -> Item:
        """The report's line for one object."""
        (found,) = (item for item in self.report.items if item.target == str(self.root / key))
        return found

    def error(self, key: str) -> KaiwoError:
        """Why that object failed."""
        error = self.item(key).error
        assert error is not None
        return error

    def settled(self) -> Counter[str]:
        """How often each target was said to be settled."""
        return Counter(event.item.target for event in self.sink.of(Settled))

    @property
    def retried(self) -> list[Retried]:
        """The retries that were reported."""
        return self.sink.of(Retried)

    @property
    def planned(self) -> Planned:
        """What was reported at the beginning."""
        (event,) = self.sink.of(Planned)
        return event


def carry_out(
    plan: Plan,
    root: Path,
    executor: Executor | None = None,
    *,
    workers: int | None = 4,
    policy: RetryPolicy | None = None,
    verify: bool = True,
    fail_fast: bool = False,
    sink: RecordingSink | None = None,
    until_s: float | None = None,
    memory: State | None = None,
) -> Ran:
    """Run a plan, by default at once in this thread and without waiting before repeats."""
    executor = executor or InlineExecutor()
    sink = sink or RecordingSink()
    rules = Rules(workers, policy or PromptPolicy(3), verify, fail_fast, until_s)
    memory = memory or State()
    openers = {transfer.opener for transfer in plan.transfers}
    health, ended = ServiceHealth(max(workers or 0, LEAST_LOST)), False
    for opener in openers:
        health.answered(opener.service)  # their objects were listed
    try:
        report = Scheduler(plan, executor, rules, memory, sink, health).run()
        ended = True
    finally:
        memory.close(ended=ended)
        for opener in openers:
            close_source(opener)
    return Ran(report, sink, executor, root)


def closed_plan(
    listing: Listing, state: State | None = None, *, force: bool = False, verify: bool = True
) -> Plan:
    """The plan of a listing, when nobody else is at its targets."""
    state = state or State()
    how = Comparison(force, verify)
    return close(draft(listing, state, how), state, how)


def run_store(
    store: FaultyStore, root: Path, executor: Executor | None = None, **rules: Any
) -> Ran:
    """Download everything that a store holds."""
    return carry_out(plan_of(FaultyOpener(store), root), root, executor, **rules)


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder but kaiwo's memory, by its relative name."""
    found = (path for path in root.rglob("*") if path.is_file())
    named = {path.relative_to(root).as_posix(): path for path in found}
    return {
        name: path.read_bytes() for name, path in named.items() if ".kaiwo" not in name.split("/")
    }


def in_place(root: Path) -> dict[str, bytes]:
    """Every file but kaiwo's memory and temporary files, by its relative name."""
    named = files(root).items()
    return {name: data for name, data in named if not Path(name).name.startswith(".kaiwo-")}


def left(root: Path) -> list[str]:
    """The names of the temporary files that are there."""
    return sorted(path.name for path in root.rglob(".kaiwo-*"))


def published(transfer: Transfer, mtime_ns: int, *, verified: bool = True) -> Outcome:
    """The outcome of an object that is in place."""
    return Outcome(
        transfer,
        bytes=transfer.object.size,
        published=True,
        mtime_ns=mtime_ns,
        checksum=transfer.object.checksum,
        verified=verified,
    )


def put(transfer: Transfer, data: bytes) -> Outcome:
    """Write the target as a run would have done, and return the outcome that it had."""
    path = Path(transfer.target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return published(transfer, path.stat().st_mtime_ns)


def held_by(manifest: Manifest, transfer: Transfer) -> Record | None:
    """What a manifest knows of the file that is at the target now."""
    status = regular_file(transfer.target)
    return None if status is None else manifest.find(transfer, status)


def ranges_of(size: int) -> list[tuple[int, int]]:
    """The ranges that a large object is read in."""
    return [(start, min(start + RANGE, size)) for start in range(0, size, RANGE)]
