"""What kaiwo knows of objects, and what it reports: frozen, picklable, free of behaviour.

Sizes and offsets are bytes; ranges are half-open ``start, end``.

Longer than 300 lines: the words that all floors share, one small structure each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.errors import KaiwoError

Status = Literal["downloaded", "resumed", "unchanged", "failed"]


class Checksum(Struct, frozen=True, array_like=True, gc=False):
    """A checksum of a whole object.

    Attributes:
        algorithm: ``md5``, ``sha256``, ``crc32c``, ``crc64nvme``, ``git-sha1``, ``git-lfs``, or
            ``md5-<n>`` of an upload in parts of n bytes.
        value: lower-case hexadecimal digits; of an upload in parts, with ``-`` and their number.
    """

    algorithm: str
    value: str


class ReadAs(Struct, frozen=True, gc=False):
    """What the answers to reads state of an object, where it differs from what listings state.

    Attributes:
        etag: see ``RemoteObject``; None if it is not compared.
        modified_ns: see ``RemoteObject``; None if it is not compared.
        conditional: requests are bound to that; some services do not keep conditions.
        in_one: one request reads all of it, because each answer states something else.
    """

    etag: str | None = None
    modified_ns: int | None = None
    conditional: bool = True
    in_one: bool = False


class RemoteObject(Struct, frozen=True, gc=False):
    """One object as its store states it.

    Attributes:
        key: its whole name in the bucket, container or repository.
        size: its length in bytes; of an object that is unsized, 0 until all of it has arrived.
        etag: the store's etag without quotes, if there is one; a weak one is none.
        version: the GCS generation, S3 version or commit that pins it, if there is one.
        modified_ns: when its bytes were last changed, in nanoseconds since 1970 and as exactly as
            its store states it; most state seconds.
        variant: a digest of the query of a web address: another query is another file.
        checksum: the best checksum that is known, if any.
        checksum_on_request: ``Source.fetch_checksum`` may find a (better) checksum.
        multipart: it was uploaded in parts, so that only ``fetch_checksum`` can find its checksum.
        may_be_pointer: its git sha1 may be that of its LFS pointer.
        unsized: its server does not state its length; it comes in one stream, to its end.
        unpinned: no request can be bound to what is stated here, so the object is asked for again
            before publication.
        silent_reads: reads state nothing of it: only what is asked before and after them tells
            whether it was replaced meanwhile.
        unconditional: its service does not keep conditions; its answers are compared all the same.
        read_as: what its reads have to go by, see ``as_read``.
        stream_id: how its source names it, if it can only be streamed and not read in ranges.
        signed: the checksum that a signature asks for; no store states it.
    """

    key: str
    size: int
    etag: str | None = None
    version: str | None = None
    checksum: Checksum | None = None
    modified_ns: int | None = None
    variant: str | None = None
    checksum_on_request: bool = False
    multipart: bool = False
    may_be_pointer: bool = False
    unsized: bool = False
    unpinned: bool = False
    silent_reads: bool = False
    unconditional: bool = False
    read_as: ReadAs | None = None
    stream_id: str | None = None
    signed: Checksum | None = None

    def __repr__(self) -> str:
        # The key of a ``url`` task may hold a signature.
        return f"RemoteObject({self.etag}, {self.version}, {self.size})"


def as_read(remote: RemoteObject) -> RemoteObject:
    """The object as the answers to reads state it; all else goes by what its listing states."""
    by = remote.read_as
    if by is None:
        return remote
    return replace(
        remote, etag=by.etag, modified_ns=by.modified_ns, unconditional=not by.conditional
    )


def same_bytes(one: RemoteObject, other: RemoteObject) -> bool | None:
    """Whether two statements are of the same bytes; None if nothing tells.

    Of checksum, version, etag and time of modification, the first that both state decides: a copied
    bucket has other times and the same etags; a tag changes the etag and not the checksum.
    """
    if one.variant != other.variant:
        return False
    if one.size != other.size and not (one.unsized or other.unsized):
        return False
    for first, second in (
        _comparable(one.checksum, other.checksum),
        (one.version, other.version),
        (one.etag, other.etag),
        (one.modified_ns, other.modified_ns),
    ):
        if first is not None and second is not None:
            return first == second
    return None


def _comparable(
    one: Checksum | None, other: Checksum | None
) -> tuple[Checksum, Checksum] | tuple[None, None]:
    """Both checksums, if they are of one algorithm."""
    if one is None or other is None or one.algorithm != other.algorithm:
        return None, None
    return one, other


def is_identified(remote: RemoteObject) -> bool:
    """Whether another object of the same size could be told from this one."""
    steps = (remote.checksum, remote.version, remote.etag, remote.modified_ns)
    return any(step is not None for step in steps)


class Answer(Struct, frozen=True, gc=False):
    """What a store answered when it was asked what a listed object is.

    Attributes:
        object: as it was listed, with its real size.
        is_placeholder: it is no file, but only stands for a folder.
        is_lasting: it holds for later listings, too, while they state the same of the object.
    """

    object: RemoteObject
    is_placeholder: bool = False
    is_lasting: bool = True


class Folder(Struct, frozen=True):
    """Every object below a prefix whose key, relative to it, matches.

    Attributes:
        prefix: empty, or ends in ``/``.
        globs: fsspec globs of which one must match; none means every file.
        exclude: globs that exclude what they match.
        syntax: ``path`` for fsspec's rules (``*`` stays in its segment), ``name`` for the
            Hub's (``*`` matches ``/`` too).
    """

    prefix: str = ""
    globs: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    syntax: Literal["path", "name"] = "path"


class Named(Struct, frozen=True):
    """Objects that are named by their whole keys.

    Attributes:
        keys: their names.
        checksum: what the bytes of the only one must have, even if its store states another.
    """

    keys: tuple[str, ...]
    checksum: Checksum | None = None

    def __repr__(self) -> str:
        return f"Named({len(self.keys)} keys)"  # see RemoteObject


class Policy(Struct, frozen=True):
    """What a task lets arrive.

    Attributes:
        allow: globs of which one must match; none: everything may arrive.
        deny: globs of which none may match.
        check_format: files of weights must have a header of their format.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    check_format: bool = False


class Signature(Struct, frozen=True):
    """Which signature says what the bytes of a want must have, and whose it must be.

    Attributes:
        bundle: key of the object that holds it.
        folder: what the names in it are relative to: empty, or ending in ``/``.
        key: file with the public key.
        certificates: files with the certificates that are trusted; of a key, these and an identity,
            one is given.
        subject: who the signing certificate must be of.
        valid_at_s: judge certificates at that time, in seconds since 1970; None: now.
        digest: the sha256 of the signed payload, as hexadecimal digits; empty: any.
        skips: objects that are not signed are left out, and no error.
        identity: who must have signed by Sigstore; then the next two are given.
        identity_provider: who vouches for the identity.
        trust_root: file with the authorities and logs of Sigstore.
    """

    bundle: str
    folder: str = ""
    key: str | None = None
    certificates: tuple[str, ...] = ()
    subject: str = ""
    valid_at_s: float | None = None
    digest: str = ""
    skips: bool = False
    identity: str = ""
    identity_provider: str = ""
    trust_root: str = ""


class Place(Struct, frozen=True):
    """Where one object goes: see ``Transfer`` for the fields."""

    target: str
    root: str
    blob: str | None = None
    symlinks: bool = True
    staged: bool = False


class Item(Struct, frozen=True):
    """One object's line in the report.

    ``locked`` is the object as it came, with its sha256, where a lock is written.
    """

    task: str
    source: str
    target: str
    status: Status
    bytes: int
    seconds: float = 0.0
    attempts: int = 0
    etag: str | None = None
    checksum: Checksum | None = None
    verified: bool = False
    error: KaiwoError | None = None
    locked: RemoteObject | None = None


class Shard(Struct, frozen=True):
    """One of several processes that carry out one plan.

    Attributes:
        index: which one, from 0.
        count: how many there are.
        job: what all of them belong to, where that has a name.
    """

    index: int
    count: int
    job: str = ""

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


class ShardOutcome(Struct, frozen=True):
    """What is known of a plan at the end of one shard.

    Attributes:
        shard: see there.
        plan: identifies the plan; empty: there is none.
        union_checked: all shards have ended well, and the whole was checked.
    """

    shard: Shard
    plan: str = ""
    union_checked: bool = False


class NodeOutcome(Struct, frozen=True):
    """What became of a node, where each has all objects on its own disk.

    Attributes:
        address: of the worker.
        state: ``complete``, ``failed``, or ``gone``: it was not there any more at the end.
        root: its download root; empty if it has not said so.
        store_bytes: object bytes that it read from the store.
        peer_bytes: object bytes that other nodes gave it.
        seconds: how long it took.
        error: why it failed, if one error is the reason; else its objects say so. Of a node that
            failed and is gone, the first error.
        exit_code: of its failure; 0: it has not failed. That of a node that is gone does not count
            for the run.
    """

    address: str
    state: Literal["complete", "failed", "gone"]
    root: str = ""
    store_bytes: int = 0
    peer_bytes: int = 0
    seconds: float = 0.0
    error: KaiwoError | None = None
    exit_code: int = 0


class Report(Struct, frozen=True):
    """What a run did; ``ok`` means that every object is in place and verified.

    Attributes:
        exit_code: the process's exit code, 0 when all is well.
        seconds: the run's duration.
        transferred_bytes: object bytes read, repeats included.
        items: one for each object.
        error: what ended the run, if anything did.
        started_at_s: when it began, in seconds since 1970.
        shard: which part of a plan this was, if it was one.
        nodes: where each node has all objects on its own disk: what became of each.
    """

    exit_code: int
    seconds: float
    transferred_bytes: int = 0
    items: Sequence[Item] = ()
    error: KaiwoError | None = None
    started_at_s: float = 0.0
    shard: ShardOutcome | None = None
    nodes: tuple[NodeOutcome, ...] = ()

    def __repr__(self) -> str:
        files = len(self.items)
        return f"Report(exit_code={self.exit_code}, seconds={self.seconds:.1f}, files={files})"

    @property
    def ok(self) -> bool:
        """Every object is in place."""
        return self.exit_code == 0

    @property
    def ended_at_s(self) -> float:
        """When it ended: that fits its duration, also if the clock was set meanwhile."""
        return self.started_at_s + self.seconds

    def count(self, status: Status) -> int:
        """How many objects ended in that state."""
        return sum(item.status == status for item in self.items)
