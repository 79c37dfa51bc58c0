"""What a run leaves when it is killed: its journal, from which a later run goes on.

One file for each run and root, ``<root>/.kaiwo/journal-<run>.jsonl``, mode 0600, without secrets.
It is only appended to, and is gone when the run has ended and nothing is unfinished:

    {"kaiwo-journal": 1}
    {"folder": "models"}                         may hold temporary files of this run
    {"begin": 0, "target": "models/a.bin", "temporary": "models/.kaiwo-9f1c22aa-0.part",
     "origin": "https://s3...", "source": "s3://bucket/a.bin", "identity": ["etag", null, 99]}
    {"part": [0, 8388608, 8388608], "crc64nvme": 123}        of which object, start, length
    {"end": 0}                                   published, or given up: nothing is left of it

Nothing in it is believed as it stands. Its object has to be what the store states now, from the
same place; its temporary file has to lie where this run would put its own; and each range counts
only when its checksum is found in that file. A line that is torn or foreign says nothing, and a
journal of another version is neither believed nor touched.

A later run writes down what it takes over before it renames the temporary file to a name of its
own, so that whenever it is killed, one of the two journals names a file that is there.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import logging
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct, field

from kaiwo.files.disk_errors import disk_error
from kaiwo.files.paths import regular_file
from kaiwo.files.temporary_files import discard
from kaiwo.jobs import Crc, PartialDownload, Transfer

VERSION = 1
_HEADER = {"kaiwo-journal": VERSION}
_RUN = re.compile(r"[0-9a-f]{1,32}")
#: What JSON can say and no name of a file can hold: half a character.
_NO_NAME = re.compile("[\ud800-\udc7f\udd00-\udfff]")
logger = logging.getLogger(__name__)


class Entry(Struct, frozen=True):
    """A large object in an earlier run's journal.

    Attributes:
        target: absolute path.
        temporary: absolute path, beside it or beside its blob.
        origin: of its service.
        source: its URL.
        identity: etag, version and size.
        crcs: of the ranges that were written, with their lengths, by their starts.
    """

    target: str
    temporary: str
    origin: str
    source: str
    identity: tuple[str | None, str | None, int]
    crcs: dict[int, tuple[int, Crc]] = field(default_factory=dict)

    def partial_download(self, transfer: Transfer, length: int) -> PartialDownload | None:
        """What there is of that transfer's object, in ranges of that length; None if nothing is.

        An object without etag and version may be another one of the same size.
        """
        remote = transfer.object
        here = (transfer.opener.origin, transfer.source, remote.identity)
        if here != (self.origin, self.source, self.identity):
            return None
        beside = posixpath.dirname(self.temporary) == posixpath.dirname(transfer.temporary)
        if not beside or (remote.etag is None and remote.version is None):
            return None
        crcs = {
            start: crc
            for start, (size, crc) in self.crcs.items()
            if start in range(0, remote.size, length) and size == min(length, remote.size - start)
        }
        return PartialDownload(self.temporary, crcs) if crcs else None


class EarlierRun(Struct):
    """The journal of an earlier run, as far as it can be read."""

    path: str
    run: str
    folders: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def sweep(self, taken: Callable[[str], bool], kept: Callable[[str], bool]) -> None:
        """Remove what nobody will go on with, and the journal itself once nothing is left.

        Args:
            taken: whether a target is this run's own affair.
            kept: whether this run goes on with that temporary file.
        """
        left = []
        for entry in self.entries:
            if taken(entry.target) and not kept(entry.temporary):
                discard(entry.temporary)
            elif os.path.lexists(entry.temporary):
                left.append(entry.temporary)
        for folder in self.folders:
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    path = posixpath.join(folder, name)
                    if _is_temporary(name, self.run) and path not in left:
                        discard(path)
        if not left:
            discard(self.path)


def earlier(before: str, after: str, root: str) -> Iterator[EarlierRun]:
    """The journals of a root.

    Args:
        before: how the path of a journal begins, up to its run.
        after: how it ends.
        root: absolute path.
    """
    for path in glob.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
        run = path[len(before) : len(path) - len(after)]
        if not _RUN.fullmatch(run):
            continue
        if regular_file(path) is None:
            logger.warning("%s is no file: going on without it", path)
            continue
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                found = _read(path, root, run, file)
        except OSError as error:
            logger.warning("cannot read %s (%s): going on without it", path, error.strerror)
            continue
        if found is not None:
            yield found


def _read(path: str, root: str, run: str, lines: Iterable[str]) -> EarlierRun | None:
    """What the lines say; None for another version."""
    found = EarlierRun(path, run)
    rest = iter(lines)
    header = next(rest, "")
    if _line(_HEADER).startswith(header) and header[-1:] != "\n":
        return found  # torn in its first line, or empty
    if _parsed(header) != _HEADER:
        return None
    _take(found, root, (_parsed(line) for line in rest))
    return found


def _take(found: EarlierRun, root: str, documents: Iterable[object]) -> None:
    """Take in what the lines after the first say."""
    known = {"folder", "begin", "part", "end"}
    begun: dict[int, Entry] = {}
    for document in documents:
        if not isinstance(document, dict) or not known & document.keys():
            continue
        match document:
            case {"folder": str(name)} if _inside(name):
                found.folders.append(posixpath.normpath(posixpath.join(root, name)))
            case {"begin": int(number)}:
                if (entry := _entry(root, found.run, document)) is not None:
                    begun[number] = entry
            case {"part": [int(number), int(start), int(size)]} if number in begun:
                if (crc := _crc(document)) is not None:
                    begun[number].crcs[start] = size, crc
            case {"end": int(number)}:
                begun.pop(number, None)
            case _:
                pass
    found.entries.extend(begun.values())


def _line(document: Mapping[str, object]) -> str:
    return json.dumps(document, ensure_ascii=True) + "\n"


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _entry(root: str, run: str, document: object) -> Entry | None:
    match document:
        case {
            "target": str(target),
            "temporary": str(temporary),
            "origin": str(origin),
            "source": str(source),
            "identity": [str() | None as etag, str() | None as version, int(size)],
        } if _inside(target) and _inside(temporary):
            name = posixpath.basename(temporary)
            if _is_temporary(name, run) and name.endswith(".part"):
                place = posixpath.normpath(posixpath.join(root, temporary))
                own = posixpath.normpath(posixpath.join(root, target))
                return Entry(own, place, origin, source, (etag, version, size))
    return None


def _crc(document: dict[str, object]) -> Crc | None:
    for algorithm in ("crc64nvme", "crc32c"):
        value = document.get(algorithm)
        if isinstance(value, int):
            return Crc(algorithm, value)
    return None


def _is_temporary(name: str, run: str) -> bool:
    """Whether that run gave a temporary file this name."""
    return name.startswith(f".kaiwo-{run}-") and name.endswith((".part", ".link"))


def _inside(path: str) -> bool:
    """Whether a relative path stays in its folder; a journal may be anybody's."""
    if path.startswith("/") or ".." in path.split("/"):
        return False
    return "\0" not in path and not _NO_NAME.search(path)


class Journal:
    """The journal of this run in one root; made when the first line is written.

    What cannot be written is said once: the run goes on, and a later one begins anew.
    """

    def __init__(self, path: str, root: str) -> None:
        self._path = path
        self._root = root
        self._descriptor: int | None = None
        self._failed = False
        self._numbers: dict[str, int] = {}
        self._next = 0

    def folders(self, folders: Iterable[str]) -> None:
        """Temporary files of this run may come to lie there."""
        self._write(*({"folder": self._relative(folder)} for folder in folders))

    def begin(self, transfer: Transfer, length: int) -> None:
        """A large object begins; what is taken over of an earlier run is written down, too.

        One that has neither etag nor version could be another one by then.
        """
        if transfer.object.etag is None and transfer.object.version is None:
            return
        number = self._numbers[transfer.temporary] = self._next
        self._next += 1
        remote = transfer.object
        begun = {
            "begin": number,
            "target": self._relative(transfer.target),
            "temporary": self._relative(transfer.temporary),
            "origin": transfer.opener.origin,
            "source": transfer.source,
            "identity": list(remote.identity),
        }
        parts = []
        if transfer.partial is not None:
            for start, crc in transfer.partial.crcs.items():
                parts.append(_part(number, start, min(length, remote.size - start), crc))
        self._write(begun, *parts)

    def part(self, transfer: Transfer, start: int, length: int, crc: Crc) -> None:
        """A range is in the temporary file."""
        number = self._numbers.get(transfer.temporary)
        if number is not None:
            self._write(_part(number, start, length, crc))

    def end(self, transfer: Transfer) -> None:
        """Nothing is left of it but, perhaps, the target."""
        number = self._numbers.pop(transfer.temporary, None)
        if number is not None:
            self._write({"end": number})

    def holds(self, transfer: Transfer) -> bool:
        """A later run can go on with its temporary file."""
        return transfer.temporary in self._numbers and not self._failed

    def close(self, *, ended: bool) -> None:
        """Give the file back.

        Args:
            ended: the run came to its end, so that nothing but what is unfinished is left.
        """
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None
            if ended and not self._numbers:
                discard(self._path)

    def _relative(self, path: str) -> str:
        return posixpath.relpath(path, self._root)

    def _write(self, *documents: Mapping[str, object]) -> None:
        if self._failed:
            return
        text = "".join([_line(each) for each in documents])
        reason: OSError | None = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            if os.write(self._opened(), text.encode("ascii")) == len(text):
                reason = None
        except OSError as error:
            reason = error
        if reason is not None:
            self._failed = True
            message = disk_error(reason, self._path).message
            logger.warning("%s; a run after this one could not go on from here", message)

    def _opened(self) -> int:
        if self._descriptor is None:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            os.write(self._descriptor, _line(_HEADER).encode("ascii"))
        return self._descriptor


def _part(number: int, start: int, length: int, crc: Crc) -> dict[str, object]:
    return {"part": [number, start, length], crc.algorithm: crc.value}
