r"""The plan that all shards follow: one JSON object a line, without secrets.

    {"kaiwo-plan":1}
    {"made_s":1764475200.0,"nonce":"9f1c…","shards":3,"of":"5b0d…","lock":null,"shares_files":true}
    {"item":"s3://bucket/models/**/*","objects":2}
    {"key":"models/a.bin","size":12,"etag":"…","state":"in_place"}
    {"end":"e3b0…"}

Each object belongs to the item above it, in the order of the configuration. ``of`` is a digest of
what the configuration asks for, ``end`` that of all lines above it: it identifies the plan. A file
without a right end is no plan. A file that the configuration names itself has no ``key``, for an
address may hold a secret.

What a plan says is data, like any listing: anybody who can write to the volume may have written it.
Its keys must be what the configuration asks for, and names and targets are checked by each shard.
What a lock, a signature or an item asks for is not taken from it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import astuple, replace

from kaiwo.errors import ConfigError, IntegrityError
from kaiwo.jobs import RANGE, Want
from kaiwo.net.web_urls import is_web
from kaiwo.objects import Folder, RemoteObject
from kaiwo.planning.gather import Listing, described
from kaiwo.shards.split import Split, Weighed, split
from kaiwo.state import small_files
from kaiwo.workers.globs import matcher

_HEADER = {"kaiwo-plan": 1}
#: A larger file is no plan: a million objects take a quarter of it.
_LARGEST = 1 << 30
#: Times in nanoseconds are within 64 bits.
_MOST = 1 << 63
#: What is at an object's target: nothing, a file that is to be checked, or what is to be there.
State = Literal["missing", "present", "in_place"]


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan is of.

    Attributes:
        made_s: when it was made, in seconds since 1970.
        nonce: tells it from all other plans.
        shards: how many there are.
        of: a digest of what the configuration asks for.
        lock: a digest of the lock that it follows, if it does.
        shares_files: several shards may write into one file.
    """

    made_s: Annotated[float, Meta(ge=0, le=1e11)]
    nonce: str
    shards: int
    of: str
    lock: str | None
    shares_files: bool


class Planned(RemoteObject, frozen=True, omit_defaults=True, gc=False):
    """One object of a plan, as it was listed: a line of the file.

    Attributes:
        state: of its target, when the plan was made.
        in_parts: its store serves any range of it.
    """

    state: State = "missing"
    in_parts: bool = False

    def object(self, key: str) -> RemoteObject:
        """The object of that key."""
        return RemoteObject(key, *astuple(self)[1:_FIELDS])


_FIELDS = len(RemoteObject.__struct_fields__)


class SharedPlan(Struct, frozen=True):
    """A plan as it is in its file.

    Attributes:
        head: see there.
        items: of each want, in their order: its text, and its objects.
        digest: identifies the plan.
    """

    head: Head
    items: tuple[tuple[str, tuple[Planned, ...]], ...]
    digest: str

    @property
    def token(self) -> str:
        """The beginning of the digest, for names of files."""
        return self.digest[:16]

    def split(self) -> Split:
        """Which bytes are whose."""
        return split([self._weighed(each) for _, some in self.items for each in some], self.shards)

    @property
    def shards(self) -> int:
        """How many there are."""
        return self.head.shards

    def _weighed(self, planned: Planned) -> Weighed:
        size = 0 if planned.state == "in_place" else planned.size
        is_divisible = planned.in_parts and planned.state == "missing" and size > RANGE
        return Weighed(size, is_divisible and self.head.shares_files)

    def listing(self, wants: Sequence[Want]) -> Listing:
        """Its objects, as if the stores had listed them.

        Args:
            wants: what the configuration asks for.

        Raises:
            IntegrityError: they are not what it asks for.
        """
        if len(wants) != len(self.items):
            raise _misfit(f"it has {len(self.items)} items instead of {len(wants)}")
        found: list[tuple[Want, tuple[RemoteObject, ...]]] = []
        for want, (item, objects) in zip(wants, self.items, strict=True):
            meant = next((each for each in want.readings() if described(each) == item), None)
            if meant is None:
                raise _misfit(f"it lacks {described(want)}")
            found.append((meant, tuple(_objects(meant, objects))))
        return Listing(tuple(found))


def _objects(want: Want, planned: Sequence[Planned]) -> Iterator[RemoteObject]:
    """The objects of an item.

    Raises:
        IntegrityError: one of them is not what the item asks for.
    """
    if isinstance(want.selection, Folder):
        matches, prefix = matcher(want.selection), want.selection.prefix
        for each in planned:
            key = each.key
            if not (key.startswith(prefix) and matches(key[len(prefix) :])):
                raise _misfit(f"{want.opener.url(key)} is not what {described(want)} asks for")
            yield each.object(key)
        return
    keys = want.selection.keys
    if len(planned) not in {len(keys), 0} or any(each.key for each in planned):
        raise _misfit(f"it has other objects for {described(want)}")
    for key, each in zip(keys, planned, strict=False):
        yield each.object(key)


def _misfit(why: str) -> IntegrityError:
    return IntegrityError(f"the plan of all shards does not fit the configuration: {why}")


def new_head(shards: int, of: str, lock: str | None, made_s: float, *, shares_files: bool) -> Head:
    """The head of a new plan; see ``Head``."""
    return Head(made_s, secrets.token_hex(16), shards, of, lock, shares_files)


def write(
    path: str,
    head: Head,
    found: Iterable[tuple[Want, Iterable[Planned]]],
) -> None:
    """Write a plan, unless there is one already.

    Args:
        path: of the file.
        head: see there.
        found: the objects of each want.

    Raises:
        ConfigError: an object cannot be in a plan.
        DiskError: the file system refused.
    """
    lines = [*_lines(head, found)]
    told = hashlib.sha256()
    for line in lines:
        told.update(line)
    small_files.write_new(path, (*lines, _line({"end": told.hexdigest()})))


def _lines(head: Head, found: Iterable[tuple[Want, Iterable[Planned]]]) -> Iterator[bytes]:
    yield _line(_HEADER)
    yield _line(head)
    for want, planned in found:
        lines = [_line(_without_secret(want, each)) for each in planned]
        yield _line(_Item(described(want), len(lines)))
        yield from lines


def _line(content: object) -> bytes:
    try:
        return msgspec.json.encode(content) + b"\n"
    except UnicodeEncodeError:  # half a character: a name that is no UTF-8
        return json.dumps(msgspec.to_builtins(content)).encode("ascii") + b"\n"


def _without_secret(want: Want, planned: Planned) -> Planned:
    """An object without what may be a secret in its name.

    Raises:
        ConfigError: its name is needed, and may be one.
    """
    if not isinstance(want.selection, Folder):
        return replace(planned, key="")
    if "?" in planned.key and is_web(want.opener.url(planned.key)):
        raise ConfigError(
            f"{want.opener.url(planned.key)}: files whose addresses have a query cannot be in a "
            "plan for shards, because it may be a secret; name them as `file` items"
        )
    return planned


class _Item(Struct, frozen=True, forbid_unknown_fields=True):
    """The line of an item."""

    item: str
    objects: int


def read(path: str) -> SharedPlan | None:
    """The plan of a file; None if there is none, or none that is whole.

    Raises:
        ConfigError: it is of a newer kaiwo.
        DiskError: it cannot be read.
    """
    whole = small_files.beginning(path, _LARGEST + 1)
    if whole is None or len(whole) > _LARGEST:
        return None
    lines = whole.splitlines(keepends=True)
    del whole
    if not lines or not lines[0].startswith(b'{"kaiwo-plan":'):
        return None
    if lines[0] != _line(_HEADER):
        raise ConfigError(f"{path} was written by a newer kaiwo; all shards need one version")
    end, told = lines.pop(), hashlib.sha256()
    for line in lines:
        told.update(line)
    if end != _line({"end": told.hexdigest()}):
        return None
    content = iter(lines[1:])
    try:
        head = msgspec.json.decode(next(content, b""), type=Head)
        return SharedPlan(head, tuple(_items(content)), told.hexdigest())
    except (msgspec.DecodeError, ValueError):
        return None


def _items(lines: Iterator[bytes]) -> Iterator[tuple[str, tuple[Planned, ...]]]:
    """The items of a plan; raises ValueError or DecodeError."""
    decoder = msgspec.json.Decoder(Planned)
    for line in lines:
        item = _decoded(line, msgspec.json.Decoder(_Item))
        found = tuple(_decoded(next(lines, b""), decoder) for _ in range(item.objects))
        if any(each.size < 0 or not -_MOST <= (each.modified_ns or 0) < _MOST for each in found):
            raise ValueError("no size, or no time")
        yield item.item, found


StructT = TypeVar("StructT")


def _decoded(line: bytes, decoder: msgspec.json.Decoder[StructT]) -> StructT:
    try:
        return decoder.decode(line)
    except msgspec.DecodeError:  # perhaps half a character, which Python's decoder accepts
        found: StructT = msgspec.convert(json.loads(line), decoder.type)
        return found


def digest_of(wants: Sequence[Want], place_of: Callable[[Want], str]) -> str:
    """A digest of what a configuration asks for, and where it goes.

    Args:
        wants: of the configuration.
        place_of: where the objects of a want go, alike on all machines.
    """
    told = hashlib.sha256()
    for want in wants:
        asked = (described(want), want.opener.origin, place_of(want), want.required)
        told.update(json.dumps(msgspec.to_builtins(asked)).encode() + b"\n")
    return told.hexdigest()
