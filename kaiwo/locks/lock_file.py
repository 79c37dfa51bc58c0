"""The format of a lock file: one JSON object a line, sorted, without secrets.

    {"kaiwo-lock": 1}
    {"item": "s3://bucket/models/**/*", "objects": 1}
    {"key": "models/a.bin", "url": "s3://bucket/models/a.bin", "target": "models/a.bin",
     "size": 12, "checksum": "sha256:9f86…", "etag": "…", "version": "…"}

Each object belongs to the item above it: what an item of the configuration asks for, in the order
of the file. Its number of objects shows a file that was cut off. ``key`` and identity are what
counts. ``url`` and ``target`` are for people: hosts, credentials and targets come from the
configuration. A file that the configuration names itself has no ``key``, for an address may hold a
secret. ``weak`` objects have no checksum that their bytes alone can be checked against. A name that
ends in ``.gz`` is a compressed file.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from kaiwo import checksums
from kaiwo.errors import ConfigError
from kaiwo.files import documents
from kaiwo.files.disk_errors import disk_error
from kaiwo.objects import Checksum, RemoteObject

_HEADER = {"kaiwo-lock": 1}
#: A larger file is no lock: a million objects take a quarter of it.
_LARGEST = 1 << 30
#: Names have at most 1,024 bytes.
_LONGEST_LINE = 1 << 16
#: The lengths of the parts of an upload.
_OF_PARTS = re.compile(r"md5-([1-9][0-9]{0,14}|([1-9][0-9]{0,14},){1,10000})")
Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
#: What goes into headers and addresses.
Word = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]*\Z")]


class Entry(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One object, as a line of the file.

    Attributes:
        url: without secrets.
        target: where it went.
        size: in bytes; None if its store does not state it.
        key: see the module's docstring.
        checksum: algorithm and value, with a colon between them.
        etag: see ``RemoteObject``, as all below.
        version: of it.
        modified_ns: of it.
        variant: of it.
        unpinned: of it.
        silent_reads: of it.
        pointer: the checksum may be that of a pointer to the file.
        weak: the bytes alone do not tell whether they are right.
    """

    url: str
    target: str
    size: Size | None = None
    key: str | None = None
    checksum: str | None = None
    etag: Word | None = None
    version: Word | None = None
    modified_ns: Size | None = None
    variant: str | None = None
    unpinned: bool = False
    silent_reads: bool = False
    pointer: bool = False
    weak: bool = False

    def object(self, key: str, *, by_version: bool = False) -> RemoteObject:
        """The object of that key, as its store would state it.

        Args:
            key: of the object.
            by_version: its store never gives other bytes for a version.

        Raises:
            ConfigError: the checksum is none.
        """
        return RemoteObject(
            key,
            self.size or 0,
            self.etag,
            self.version,
            None if self.checksum is None else _parsed_checksum(self.checksum),
            modified_ns=self.modified_ns,
            variant=self.variant,
            unsized=self.size is None,
            # What its bytes do not prove is asked for again before they are published.
            unpinned=self.unpinned or not (self.is_strong() or (by_version and self.version)),
            silent_reads=self.silent_reads,
            may_be_pointer=self.pointer,
        )

    def is_strong(self) -> bool:
        """Whether the bytes alone tell if they are right; a digest of a pointer will do, too."""
        checksum = None if self.checksum is None else _parsed_checksum(self.checksum)
        return checksums.is_of_bytes(checksum)


class LockedItem(Struct, frozen=True):
    """What an item of the configuration asks for, as text, and its objects."""

    item: str
    entries: tuple[Entry, ...]


class Lock(Struct, frozen=True):
    """What a configuration had."""

    items: tuple[LockedItem, ...]

    def __len__(self) -> int:
        return sum(len(each.entries) for each in self.items)


def entry_of(remote: RemoteObject, url: str, target: str, *, is_named: bool) -> Entry:
    """An object as a line.

    Args:
        remote: what is known of it.
        url: of the object, without secrets.
        target: where it goes.
        is_named: the configuration names it.
    """
    checksum = remote.checksum
    return Entry(
        url,
        target,
        None if remote.unsized else remote.size,
        None if is_named else remote.key,
        None if checksum is None else f"{checksum.algorithm}:{checksum.value}",
        remote.etag,
        remote.version,
        remote.modified_ns,
        remote.variant,
        remote.unpinned,
        remote.silent_reads,
        remote.may_be_pointer,
        not checksums.is_of_bytes(checksum),
    )


def write(path: str, lock: Lock) -> None:
    """Replace a lock file.

    Raises:
        DiskError: it cannot be written.
    """
    data = "".join(_lines(lock)).encode()
    try:
        documents.write(path, [gzip.compress(data, mtime=0) if path.endswith(".gz") else data])
    except OSError as error:
        raise disk_error(error, path) from None


def _lines(lock: Lock) -> Iterator[str]:
    yield json.dumps(_HEADER) + "\n"
    for locked in lock.items:
        yield json.dumps({"item": locked.item, "objects": len(locked.entries)}) + "\n"
        for entry in sorted(locked.entries, key=lambda each: (each.key or "", each.url)):
            yield json.dumps(msgspec.to_builtins(entry)) + "\n"


def read(path: str) -> Lock:
    """A lock file.

    Raises:
        ConfigError: it cannot be read, is none, or of a newer kaiwo.
    """
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as stream:
            return Lock(tuple(_items(_bounded(stream.readline, path), path)))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no lock file {path}; `kaiwo lock CONFIG_FILE` writes it"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise ConfigError(f"{path} is damaged, or not gzip-compressed as its name says") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def _bounded(readline: Callable[[int], bytes], path: str) -> Iterator[bytes]:
    """The lines of a file, as long as it may be a lock.

    Raises:
        ConfigError: it is none.
    """
    left = _LARGEST
    while line := readline(_LONGEST_LINE):
        left -= len(line)
        if left < 0 or len(line) == _LONGEST_LINE:
            raise ConfigError(f"{path} is no lock file of kaiwo: it is too large")
        yield line


class _Item(Struct, frozen=True, forbid_unknown_fields=True):
    """The line of an item."""

    item: str
    objects: Size


def _items(lines: Iterable[bytes], path: str) -> Iterator[LockedItem]:
    numbered = iter(enumerate(lines, 1))
    _, first = next(numbered, (1, b""))
    if (header := _parsed(first, dict[str, Any], path, 1)) != _HEADER:
        newer = "kaiwo-lock" in header
        what = "was written by a newer kaiwo" if newer else "is no lock file of kaiwo"
        raise ConfigError(f"{path} {what}")
    item: _Item | None = None
    entries: list[Entry] = []
    for number, line in numbered:
        if line.startswith(b'{"item":'):
            if item is not None:
                yield _complete(item, entries, path)
            item, entries = _parsed(line, _Item, path, number), []
        elif item is None:
            raise ConfigError(f"{path}:{number}: an object without an item")
        else:
            entries.append(_entry(line, path, number))
    if item is not None:
        yield _complete(item, entries, path)


def _complete(item: _Item, entries: list[Entry], path: str) -> LockedItem:
    """An item, if it has all its objects.

    Raises:
        ConfigError: it has more or fewer than it says.
    """
    if len(entries) != item.objects:
        raise ConfigError(
            f"{path} is damaged: {item.item} has {len(entries)} of {item.objects} objects; restore "
            "the file, or write it again"
        )
    return LockedItem(item.item, tuple(entries))


def _entry(line: bytes, path: str, number: int) -> Entry:
    entry: Entry = _parsed(line, Entry, path, number)
    try:
        entry.is_strong()
    except ConfigError as error:
        raise ConfigError(f"{path}:{number}: {error.message}") from None
    if {entry.checksum, entry.version, entry.etag, entry.modified_ns} == {None}:
        # kaiwo writes none: it reads and hashes an object that nothing identifies.
        raise ConfigError(
            f"{path}:{number}: nothing identifies this object; restore the file, or write it again"
        )
    return entry


def _parsed(line: bytes, type_: Any, path: str, number: int) -> Any:
    try:
        return msgspec.json.decode(line, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(
            f"{path}:{number}: this line is damaged; restore the file, or write it again"
        ) from None


def _parsed_checksum(text: str) -> Checksum:
    """A checksum that was written with a colon.

    Raises:
        ConfigError: it is none.
    """
    algorithm, _, value = text.partition(":")
    length = checksums.LENGTHS.get(algorithm)
    if length is not None:
        found = checksums.stated(algorithm, value)
        if found is None or len(found.value) != 2 * length:
            raise ConfigError(f"not a checksum of {algorithm}")
        return found
    if not (_OF_PARTS.fullmatch(algorithm) and checksums.is_of_parts(value)):
        raise ConfigError("not a checksum that kaiwo knows")
    return Checksum(algorithm, value)
