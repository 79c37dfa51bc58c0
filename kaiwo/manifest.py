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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kaiwo.disk import disk_error, regular_file
from kaiwo.objects import Checksum, Outcome, Transfer
from kaiwo.targets import STATE_FOLDER

VERSION = 1
_SEAL = ', "crc32": '
_HEADER = {"kaiwo-manifest": VERSION}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """What a target was when it was published."""

    origin: str
    source: str
    size: int
    etag: str | None
    version: str | None
    mtime_ns: int
    checksum: Checksum | None
    """What its bytes were verified by, if by anything but their count."""


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
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                lines = iter(file)
                header = next(lines, "")
                if _encoded(_HEADER).startswith(os.fsencode(header)) and header[-1:] != "\n":
                    return {}  # torn in its first line, or empty: begun anew
                if _parsed(header) != _HEADER:
                    self._foreign = True
                    logger.warning("%s is of another version of kaiwo: ignored", self._path)
                    return {}
                for line in lines:
                    if (named := _record(line)) is not None:
                        records[named[0]] = named[1]
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
        lines = b"".join([sealed(self._line(outcome)) for outcome in outcomes])
        try:
            os.write(self._opened(), lines)
        except OSError as error:
            self._failed = True
            message = disk_error(error, self._path).message
            logger.warning("%s; a second run will have to look at the files again", message)

    def _line(self, outcome: Outcome) -> dict[str, object]:
        transfer = outcome.transfer
        checksum = outcome.checksum if outcome.verified else None
        return {
            "target": self._name(transfer),
            "origin": transfer.opener.origin,
            "source": transfer.source,
            "size": transfer.object.size,
            "etag": transfer.object.etag,
            "version": transfer.object.version,
            "mtime_ns": outcome.mtime_ns,
            "checksum": [checksum.algorithm, checksum.value] if checksum else None,
        }

    def _opened(self) -> int:
        if self._descriptor is None:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            size = os.fstat(descriptor).st_size
            if size == 0:
                # Two that begin together may both write it; a second header is a foreign line.
                os.write(descriptor, _encoded(_HEADER))
            elif size < len(_encoded(_HEADER)):
                os.ftruncate(descriptor, 0)  # torn in its first line
                os.write(descriptor, _encoded(_HEADER))
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


def _encoded(line: Mapping[str, object]) -> bytes:
    return (json.dumps(line, ensure_ascii=True) + "\n").encode("ascii")


def sealed(document: Mapping[str, object]) -> bytes:
    """A line that tells whether it is whole."""
    body = json.dumps(document, ensure_ascii=True)[:-1]
    return f"{body}{_seal(body)}\n".encode("ascii")


def _unsealed(line: str) -> object:
    body, mark, rest = line.rpartition(_SEAL)
    whole = mark + rest.rstrip("\n") == _seal(body)
    return _parsed(f"{body}}}") if whole else None


def _seal(body: str) -> str:
    """How a line with that beginning has to end."""
    crc = zlib.crc32(body.encode(errors="surrogateescape"))
    return f'{_SEAL}"{crc:08x}"}}'


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _record(line: str) -> tuple[str, Record] | None:
    """The target and record of one line; None for a torn or foreign one."""
    match _unsealed(line):
        case {
            "target": str(target),
            "origin": str(origin),
            "source": str(source),
            "size": int(size),
            "etag": str() | None as etag,
            "version": str() | None as version,
            "mtime_ns": int(mtime_ns),
            "checksum": [str(), str()] | None as checksum,
        }:
            known = Checksum(*checksum) if checksum else None
            return target, Record(origin, source, size, etag, version, mtime_ns, known)
    return None
