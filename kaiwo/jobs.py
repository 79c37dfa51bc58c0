"""What is to be done: frozen data that travel to workers and back.

    Want ── listing ─> RemoteObject ── plan ─> Transfer ── feed ─> Job ── worker ─> Outcome
                                                                        Item ─> Report <─┘

Sizes and offsets are bytes; ranges are half-open ``start, end``.

Longer than 300 lines: the words of planning, engine and workers, one small structure each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from kaiwo.errors import KaiwoError
from kaiwo.objects import Answer, Checksum, Folder, Item, Named, Policy, RemoteObject, Signature
from kaiwo.own_names import object_part_name
from kaiwo.protocols import Opener, Placement

#: A large object is read in ranges of this size.
RANGE = 8 << 20


class Want(Struct, frozen=True):
    """What one item of the file asks for.

    Attributes:
        task: name of the task, for people.
        where: file, line and field of the item, for errors.
        opener: how to get at the store.
        selection: which objects.
        placement: where each of them goes.
        allow_empty: nothing matched is no error.
        otherwise: what is asked for where there is no such object; the error of the first is told
            if there is none of them.
        policy: of its task.
        signature: what its objects must be signed with, if anything.
    """

    task: str
    where: str
    opener: Opener
    selection: Folder | Named
    placement: Placement
    allow_empty: bool = False
    otherwise: Want | None = None
    policy: Policy = Policy()
    signature: Signature | None = None

    @property
    def required(self) -> Checksum | None:
        """See ``Transfer``."""
        return self.selection.checksum if isinstance(self.selection, Named) else None

    def readings(self) -> Iterator[Want]:
        """What it may turn out to be, the likeliest first."""
        want: Want | None = self
        while want is not None:
            yield want
            want = want.otherwise


class Crc(Struct, frozen=True):
    """The combinable checksum of a range.

    Attributes:
        algorithm: ``crc64nvme`` or ``crc32c``.
        value: as a number.
    """

    algorithm: str
    value: int


class Mark(Struct, frozen=True):
    """How far a range is written in its file.

    Attributes:
        end: the byte after the last one.
        crc: the checksum of the bytes from the range's start to there.
    """

    end: int
    crc: Crc


class PartialDownload(Struct, frozen=True):
    """What an earlier run that did not finish left of an object.

    Attributes:
        temporary: path of its temporary file.
        marks: how far it had written each range there, by their starts. Each is believed only when
            its checksum is found in the file.
    """

    temporary: str
    marks: Mapping[int, Mark] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """How many bytes it had written."""
        return sum(mark.end - start for start, mark in self.marks.items())


class Transfer(Struct, frozen=True):
    """One object that goes to one file.

    Attributes:
        index: its place in the plan.
        run: a token of this run, for unique temporary names.
        task: name of the task.
        opener: how to get at the store.
        object: what is to be read.
        target: absolute path of the file.
        blob: where the bytes really live when the target is to be a link to them.
        root: the folder that the target must stay in, and whose state folder remembers it.
        present: a regular file of the right size is at the target already.
        published: kaiwo put that file there, with these bytes as far as is known.
        durable: its bytes must be on the disk itself before it is published.
        partial: what an earlier run left of it.
        round: how often it was started again. Each round has another temporary file, so that what
            arrives late of an earlier round disturbs nothing.
        symlinks: where there is a blob, the target may be a symbolic link to it.
        staged: the blob is of a generation that becomes the target later, together with all its
            files; until then, what is at the target is of the generation before.
        real_root: the root without links, as it was when the plan was made; empty: not resolved.
        required: the checksum that its item, a lock or a signature asks for, even if its store
            states another.
        locked: a lock names the object: no other one takes its place.
        signed: a signature asks for the checksum.
        hashed: its sha256 is wanted, too.
        check_format: see ``Policy``.
        part: start and end of what this run brings of it, if other runs bring the rest. They all
            write into one temporary file, and none of them publishes it here.
        replicated: other nodes have the same object: no other one takes its place.
    """

    index: int
    run: str
    task: str
    opener: Opener
    object: RemoteObject
    target: str
    root: str
    blob: str | None = None
    present: bool = False
    published: bool = False
    durable: bool = False
    partial: PartialDownload | None = None
    round: int = 0
    symlinks: bool = True
    staged: bool = False
    real_root: str = ""
    required: Checksum | None = None
    locked: bool = False
    hashed: bool = False
    check_format: bool = False
    signed: bool = False
    part: tuple[int, int] | None = None
    replicated: bool = False

    @property
    def is_fixed(self) -> bool:
        """No other object takes its place: it is that of a lock, or others bring parts of it."""
        return self.locked or self.replicated or self.part is not None

    @property
    def length(self) -> int:
        """How many bytes of it this run brings."""
        return self.object.size if self.part is None else self.part[1] - self.part[0]

    @property
    def expected(self) -> Checksum | None:
        """What its bytes should have, as far as is known."""
        return self.required or self.object.checksum

    @property
    def kept_bytes(self) -> int:
        """What is not fetched again, as far as an earlier run's marks are right."""
        if self.partial is None or self.present or self.object.unsized:
            return 0
        return min(self.partial.bytes, self.length)

    @property
    def destination(self) -> str:
        """Where its file is published: the target, or for now its generation."""
        return self.blob if self.staged and self.blob is not None else self.target

    @property
    def temporary(self) -> str:
        """Beside the target; short for any target's name; unique for this run and round."""
        place = self.blob or self.target
        name = object_part_name(self.run, self.index, self.round)
        return f"{place[: place.rfind('/')]}/{name}"

    @property
    def source(self) -> str:
        """The object's URL, without secrets."""
        return self.opener.url(self.object.key, self.object.version)


class Plan(Struct, frozen=True):
    """Everything a run will do, closed before the first byte.

    Attributes:
        transfers: objects that may have to be read, largest first.
        unchanged: objects that are known to be in place.
        missed: wants that cannot be planned: missing, refused, or matching nothing.
    """

    transfers: tuple[Transfer, ...] = ()
    unchanged: tuple[Transfer, ...] = ()
    missed: tuple[Item, ...] = ()


class Tries(Struct, frozen=True):
    """The failures of a request so far.

    Attributes:
        count: how often it failed.
        since_s: when it first did, by the monotonic clock.
        first: why it first did.
        reached: how far the job had come, see ``TransientError``.
        refused: what its line had seen when it was last refused without being charged: refusals,
            and jobs that succeeded.
        lost: how often the worker that made it was gone before its end.
    """

    count: int = 0
    since_s: float = 0.0
    first: str = ""
    reached: int = 0
    refused: tuple[int, int] | None = None
    lost: int = 0


class ListJob(Struct, frozen=True):
    """List the objects of the want of that number; ``known`` are answers to earlier runs."""

    number: int
    want: Want
    known: tuple[Answer, ...] = ()
    tries: Tries = Tries()


class PinJob(Struct, frozen=True):
    """What pins that object of the want? ``hashed``: read it for its sha256."""

    number: int
    want: Want
    object: RemoteObject
    hashed: bool = False
    tries: Tries = Tries()


class BundleJob(Struct, frozen=True):
    """What does the bundle of a signature hold? ``object``: it is that one, by a lock."""

    number: int
    opener: Opener
    key: str
    object: RemoteObject | None = None
    tries: Tries = Tries()


class CheckExisting(Struct, frozen=True):
    """Is the file at the target already what the store states?"""

    transfer: Transfer
    tries: Tries = Tries()


class Batch(Struct, frozen=True):
    """Read and check small objects; then write and publish them."""

    transfers: tuple[Transfer, ...]
    verify: bool = True
    tries: Tries = Tries()


class FetchChecksum(Struct, frozen=True):
    """Which checksum does the store state of an object?

    ``guess`` was refuted: only the lengths of its parts can tell.
    """

    transfer: Transfer
    guess: Checksum | None = None
    tries: Tries = Tries()


class Restat(Struct, frozen=True):
    """The object was replaced: what is it now?"""

    transfer: Transfer
    tries: Tries = Tries()


class Range(Struct, frozen=True):
    """Read one range of a large object into its temporary file.

    Attributes:
        transfer: the object.
        start: its first byte.
        end: the byte after its last.
        checks: the combinable checksums to take of it on the way.
        known: how far an earlier run wrote it; if the file holds that, only the rest is read.
        seen: the first of ``checks`` as earlier reads found it. The range is read again, and counts
            when it agrees with one of them.
        reached: the bytes before it are in the file, by an attempt of this run; 0: none.
        crcs: what ``checks`` found in those.
    """

    transfer: Transfer
    start: int
    end: int
    checks: tuple[str, ...]
    known: Mark | None = None
    seen: tuple[int, ...] = ()
    reached: int = 0
    crcs: tuple[int, ...] = ()
    tries: Tries = Tries()


class Whole(Struct, frozen=True):
    """Read a large object in a single stream into its temporary file.

    ``check`` is the checksum to take on the way.
    """

    transfer: Transfer
    check: str | None = None
    tries: Tries = Tries()


class HashPrefix(Struct, frozen=True):
    """Continue the running checksum of a large object up to ``end``: all bytes before are there."""

    transfer: Transfer
    end: int
    tries: Tries = Tries()


class Finish(Struct, frozen=True):
    """Check and publish a temporary file that has all its bytes.

    ``stated`` is what its checksum should be, ``found`` what it was found to be on the way.
    """

    transfer: Transfer
    stated: Checksum | None = None
    found: Checksum | None = None
    tries: Tries = Tries()


Job = CheckExisting | Batch | FetchChecksum | Restat | Range | Whole | HashPrefix | Finish
#: Jobs that bring bytes of objects, and jobs that ask no service.
BringingJob = Batch | Range | Whole
LocalJob = CheckExisting | HashPrefix | Finish


class Progress(Struct, frozen=True):
    """What arrived of one object since the last report of a job that is under way.

    Attributes:
        transfer: the object.
        start: of the range; 0 for other jobs.
        bytes: object bytes that were read.
        kept: bytes that an earlier run had written and that were found to be right.
        mark: how far the range is written; None for other jobs.
        answer_s: how long until the answer came, in the first report of a range; else 0.
    """

    transfer: Transfer
    start: int = 0
    bytes: int = 0
    kept: int = 0
    mark: Mark | None = None
    answer_s: float = 0.0


class Outcome(Struct, frozen=True):
    """The result of one job for one object.

    Attributes:
        transfer: the object.
        bytes: object bytes that were read.
        seconds: how long the worker took.
        answer_s: how long until the first byte came; 0 where that was not measured.
        published: the target is in place now.
        adopted: the file at the target was right already.
        staged: that file is in the next generation, not at the target.
        mtime_ns: of the published or adopted file.
        checksum: what was verified or is known.
        verified: the file's bytes have that checksum.
        digest: their sha256, where it is wanted.
        kept: bytes that an earlier run had written and that were found to be right.
        reached: the bytes of the range before it are in the file.
        crcs: checksums of those, in the order of the job's checks.
        agrees: a range that was read again is as an earlier read found it.
        now: the object as it is now, when it was looked up.
        error: why it failed.
    """

    transfer: Transfer
    bytes: int = 0
    seconds: float = 0.0
    answer_s: float = 0.0
    published: bool = False
    adopted: bool = False
    staged: bool = False
    mtime_ns: int = 0
    checksum: Checksum | None = None
    verified: bool = False
    digest: Checksum | None = None
    kept: int = 0
    reached: int = 0
    crcs: tuple[int, ...] = ()
    agrees: bool = True
    now: RemoteObject | None = None
    error: KaiwoError | None = None
