"""The manifest: what kaiwo knows to be in place, so that a second run reads nothing.

One file for each root, ``<root>/.kaiwo/manifest.jsonl``, mode 0600, without secrets. Its first
line is ``{"kaiwo-manifest": 1}``; each further line is one publication:

    {"target": "models/a.bin", "origin": "https://s3...", "source": "s3://bucket/a.bin",
     "size": 12, "etag": "...", "version": null, "mtime_ns": 1, "checksum": ["md5", "..."],
     "crc32": "0b1e2c3d"}

``target`` is relative to the root; the last line of a target counts. Lines are appended in one
write each, so that two runs do not garble each other. ``crc32`` is that of the line in front of it:
what is torn, foreign or damaged is skipped. A manifest of another version is neither believed nor
touched. A remembered file is "unchanged" only if the store still states the same identity and the
file still has the size and modification time that it was published with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import posixpath
import zlib
from collections.abc import Iterable

import msgspec

from kaiwo.disk import disk_error, regular_file
from kaiwo.objects import Checksum, Outcome, Transfer
from kaiwo.targets import STATE_FOLDER

VERSION = 1
_SEAL = b', "crc32": '
_HEADER = b'{"kaiwo-manifest": %d}\n' % VERSION
logger = logging.getLogger(__name__)


class Record(msgspec.Struct, frozen=True, gc=False):
    """What a target was when it was published: a line, as it is written.

    Attributes:
        target: relative to the root.
        origin: of the service.
        source: the object's URL, without secrets.
        size: of the object, as etag and version are.
        etag: see ``RemoteObject``.
        version: see ``RemoteObject``.
        mtime_ns: of the file.
        checksum: what its bytes were verified by, if by anything but their count.
    """

    target: str
    origin: str
    source: str
    size: int
    etag: str | None
    version: str | None
    mtime_ns: int
    checksum: Checksum | None


def state_path(root: str, state_dir: str | None, kind: str = "manifest") -> str:
    """Where the manifest of a root lives, or another file of its state."""
    if state_dir is None:
        return posixpath.join(root, STATE_FOLDER, f"{kind}.jsonl")
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return posixpath.join(state_dir, f"{kind}-{name}.jsonl")


class Manifest:
    """The memory of one root: read at once, appended to as objects are published."""

    def __init__(self, root: str, state_dir: str | None = None) -> None:
        self._root = root
        self._below = root.rstrip("/") + "/"
        self._path = state_path(root, state_dir)
        self._descriptor: int | None = None
        self._foreign = False
        self._failed = False
        self._length = self._size()
        self._records = self._load()

    def _load(self) -> dict[str, Record]:
        records: dict[str, Record] = {}
        if os.path.exists(self._path) and regular_file(self._path) is None:
            self._foreign = True
            logger.warning("%s is no file: going on without it", self._path)
            return {}
        decoder = msgspec.json.Decoder(Record)
        try:
            with open(self._path, "rb") as file:
                header = file.readline()
                if _HEADER.startswith(header) and header[-1:] != b"\n":
                    return {}  # torn in its first line, or empty: begun anew
                if header != _HEADER:
                    self._foreign = True
                    logger.warning(
                        "%s is damaged, or of another version of kaiwo: ignored", self._path
                    )
                    return {}
                for line in file:
                    if (record := _read(line, decoder)) is not None:
                        records[record.target] = record
        except FileNotFoundError:
            pass
        except OSError as error:
            self._foreign = True
            logger.warning("cannot read %s (%s): going on without it", self._path, error.strerror)
        return records

    def is_current(self) -> bool:
        """Nobody has written to it since it was read."""
        return self._size() == self._length

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except OSError:
            return 0

    def holds(self, transfer: Transfer, status: os.stat_result) -> Record | None:
        """The record of the transfer's target, if the target, of this status, is what it says."""
        record = self._records.get(self._name(transfer))
        if record is None:
            return None
        remote = transfer.object
        if (record.origin, record.source) != (transfer.opener.origin, transfer.source):
            return None
        if (record.etag, record.version, record.size) != remote.identity:
            return None
        if (status.st_size, status.st_mtime_ns) != (record.size, record.mtime_ns):
            return None
        return record

    def remember(self, outcomes: Iterable[Outcome]) -> None:
        """Append what was published or adopted; what cannot be written is said once."""
        if self._foreign or self._failed:
            return
        # One write for all of a batch: each hands the interpreter to the workers and waits for it.
        lines = b"".join([_line(self._record(outcome)) for outcome in outcomes])
        try:
            os.write(self._opened(), lines)
        except OSError as error:
            self._failed = True
            message = disk_error(error, self._path).message
            logger.warning("%s; a second run will have to look at the files again", message)

    def _record(self, outcome: Outcome) -> Record:
        transfer, remote = outcome.transfer, outcome.transfer.object
        return Record(
            self._name(transfer),
            transfer.opener.origin,
            transfer.source,
            remote.size,
            remote.etag,
            remote.version,
            outcome.mtime_ns,
            outcome.checksum if outcome.verified else None,
        )

    def _opened(self) -> int:
        if self._descriptor is None:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            size = os.fstat(descriptor).st_size
            if size == 0:
                # Two that begin together may both write it; a second header is a foreign line.
                os.write(descriptor, _HEADER)
            elif size < len(_HEADER):
                os.ftruncate(descriptor, 0)  # torn in its first line
                os.write(descriptor, _HEADER)
            elif os.pread(descriptor, 1, size - 1) != b"\n":
                # A torn last line must not swallow the next one.
                os.write(descriptor, b"\n")
            self._descriptor = descriptor
        return self._descriptor

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _name(self, transfer: Transfer) -> str:
        # A target is its root, or below it, unless a user asks for another place by name.
        if transfer.target.startswith(self._below):
            return transfer.target[len(self._below) :]
        return posixpath.relpath(transfer.target, self._root)


def _line(record: Record) -> bytes:
    try:
        text = msgspec.json.encode(record)
    except UnicodeEncodeError:  # half a character: a name that is no UTF-8
        text = json.dumps(msgspec.to_builtins(record)).encode("ascii")
    return sealed(text)


def _read(line: bytes, decoder: msgspec.json.Decoder[Record]) -> Record | None:
    """What a line says; None for a torn or foreign one."""
    text = _unsealed(line)
    if text is None:
        return None
    try:
        return decoder.decode(text)
    except (msgspec.ValidationError, RecursionError):
        return None
    except msgspec.DecodeError:  # perhaps half a character, which Python's decoder takes
        try:
            return msgspec.convert(json.loads(text), Record)
        except (msgspec.ValidationError, ValueError, RecursionError):
            return None


def sealed(text: bytes) -> bytes:
    """A line of a JSON object that tells whether it is whole."""
    body = text[:-1]
    return body + _SEAL + _crc(body) + b"\n"


def _unsealed(line: bytes) -> bytes | None:
    """The object of a line that is whole."""
    body, _, crc = line.rstrip(b"\n").rpartition(_SEAL)
    return body + b"}" if crc == _crc(body) else None


def _crc(body: bytes) -> bytes:
    return b'"%08x"}' % zlib.crc32(body)
