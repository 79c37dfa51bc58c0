"""The format of a lock file: one JSON object a line, sorted, without secrets.

    {"kaiwo-lock": 1}
    {"item": "s3://bucket/models/**/*"}
    {"key": "models/a.bin", "url": "s3://bucket/models/a.bin", "target": "models/a.bin",
     "size": 12, "checksum": "sha256:9f86…", "etag": "…", "version": "…"}

Each object belongs to the item above it: what an item of the configuration asks for, in the order
of the file. ``key`` and identity are what counts. ``url`` and ``target`` are for people: hosts,
credentials and targets come from the configuration. A file that the configuration names itself has
no ``key``, for an address may hold a secret. ``weak`` objects have no checksum that their bytes can
be checked against. A name that ends in ``.gz`` is a compressed file.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

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
        weak: nothing of this can be checked against the bytes.
    """

    url: str
    target: str
    size: int | None = None
    key: str | None = None
    checksum: str | None = None
    etag: str | None = None
    version: str | None = None
    modified_ns: int | None = None
    variant: str | None = None
    unpinned: bool = False
    silent_reads: bool = False
    weak: bool = False

    def object(self, key: str) -> RemoteObject:
        """The object of that key, as its store would state it.

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
            unpinned=self.unpinned,
            silent_reads=self.silent_reads,
        )


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
    # What may be the checksum of a pointer to the file proves nothing.
    checksum = None if remote.may_be_pointer else remote.checksum
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
        yield json.dumps({"item": locked.item}) + "\n"
        for entry in sorted(locked.entries, key=lambda each: (each.key or "", each.url)):
            yield json.dumps(msgspec.to_builtins(entry)) + "\n"


def read(path: str) -> Lock:
    """A lock file.

    Raises:
        ConfigError: it is none, or of a newer kaiwo.
        DiskError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST)
        if path.endswith(".gz"):
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(_LARGEST)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no lock file {path}; `kaiwo lock CONFIG_FILE` writes it"
        ) from None
    except (gzip.BadGzipFile, EOFError):
        raise ConfigError(f"{path} is not gzip-compressed, as its name says") from None
    except OSError as error:
        raise disk_error(error, path) from None
    return Lock(tuple(_items(data.splitlines(), path)))


def _items(lines: Iterable[bytes], path: str) -> Iterator[LockedItem]:
    numbered = iter(enumerate(lines, 1))
    _, first = next(numbered, (1, b""))
    if (header := _parsed(first, dict[str, Any], path, 1)) != _HEADER:
        newer = "kaiwo-lock" in header
        what = "was written by a newer kaiwo" if newer else "is no lock file of kaiwo"
        raise ConfigError(f"{path} {what}")
    item: str | None = None
    entries: list[Entry] = []
    for number, line in numbered:
        if line.startswith(b'{"item":'):
            if item is not None:
                yield LockedItem(item, tuple(entries))
            item, entries = _parsed(line, dict[str, str], path, number)["item"], []
        elif item is None:
            raise ConfigError(f"{path}:{number}: an object without an item")
        else:
            entry = _parsed(line, Entry, path, number)
            if entry.checksum is not None:
                try:
                    _parsed_checksum(entry.checksum)
                except ConfigError as error:
                    raise ConfigError(f"{path}:{number}: {error.message}") from None
            entries.append(entry)
    if item is not None:
        yield LockedItem(item, tuple(entries))


def _parsed(line: bytes, type_: Any, path: str, number: int) -> Any:
    try:
        return msgspec.json.decode(line, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError):
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
    if not checksums.is_of_parts(value):
        raise ConfigError("not a checksum that kaiwo knows")
    return Checksum(algorithm, value)
