"""What earlier runs left in a root: temporary files, and the journals that name them.

No line of a journal is believed as it stands; it may be torn, and anybody may have written it:

    the object           must be what the store states now, from the same service and URL
    its temporary file   must be where this run would put its own
    a range              counts only when its checksum is found in that file

A line that is torn or unknown is skipped. A journal of another version is not read, and stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from kaiwo.checksums import COMBINABLE
from kaiwo.files.folders import Root, resolved
from kaiwo.files.temporary_files import discard
from kaiwo.jobs import Crc, Mark, PartialDownload, Transfer
from kaiwo.objects import Checksum, RemoteObject, same_bytes
from kaiwo.own_names import is_part_of, is_temporary_of
from kaiwo.state.folder import journal_paths
from kaiwo.state.journal import HEADER
from kaiwo.state.json_lines import Reader
from kaiwo.state.sharing import root_of_state

#: What JSON can express and no file name can hold: half a character.
_NO_NAME = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class Entry(Struct, frozen=True):
    """An object that an earlier run did not finish.

    Attributes:
        target: absolute path.
        temporary: absolute path, beside the target or its blob.
        origin: of its service.
        source: its URL.
        object: as its store stated it then.
        marks: how far its ranges were written, by their starts.
    """

    target: str
    temporary: str
    origin: str
    source: str
    object: RemoteObject
    marks: dict[int, Mark] = field(default_factory=dict)

    def partial_download(self, transfer: Transfer, length: int) -> PartialDownload | None:
        """What this run can resume of that transfer's object; None if nothing.

        Args:
            transfer: the object.
            length: of its ranges.
        """
        remote = transfer.object
        if (transfer.opener.origin, transfer.source) != (self.origin, self.source):
            return None
        beside = posixpath.dirname(self.temporary) == posixpath.dirname(transfer.temporary)
        if not (beside and same_bytes(self.object, remote)):
            return None
        marks = {
            start: mark
            for start, mark in self.marks.items()
            if start in range(0, remote.size, length)
            and start < mark.end <= min(start + length, remote.size)
        }
        return PartialDownload(self.temporary, marks) if marks else None


class EarlierRun(Struct):
    """What the journal of an earlier run says.

    Attributes:
        path: of the journal.
        root: of the targets.
        run: the token of the run.
        folders: absolute paths of folders that may hold its temporary files.
        entries: the objects that it did not finish.
    """

    path: str
    root: Root
    run: str
    folders: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def sweep(self, taken: Callable[[str], bool], kept: Callable[[str], bool]) -> None:
        """Remove temporary files that no run will resume; the journal too, if none is left.

        Args:
            taken: whether this run downloads to that target.
            kept: whether this run resumes that temporary file.
        """
        left = []
        for entry in self.entries:
            if taken(entry.target) and not kept(entry.temporary):
                discard(entry.temporary, self.root)
            elif os.path.lexists(entry.temporary):
                left.append(entry.temporary)
        for folder in self.folders:
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    path = posixpath.join(folder, name)
                    if is_temporary_of(name, self.run) and path not in left:
                        discard(path, self.root)
        if not left:
            discard(self.path, root_of_state(posixpath.dirname(self.path)))


def earlier_runs(root: str, state_dir: str | None = None) -> Iterator[EarlierRun]:
    """What the journals of a root say.

    Args:
        root: absolute path.
        state_dir: see ``folder.py``.
    """
    for run, path in journal_paths(root, state_dir):
        journal, lines = Reader(path, HEADER), _Lines(root, run)
        journal.read(lines.take)
        if not journal.is_foreign:
            yield EarlierRun(
                path, resolved(root), run, lines.folders, list(lines.unfinished.values())
            )


def entries_of(paths: Iterable[str], root: str, token: str) -> Iterator[Entry]:
    """What some journals say of objects that are not finished.

    Args:
        paths: of the journals.
        root: absolute path.
        token: in the names of the temporary files.
    """
    for path in paths:
        lines = _Lines(root, token)
        Reader(path, HEADER).read(lines.take)
        yield from lines.unfinished.values()


class _Lines:
    """What the lines of a journal say, taken in one after the other."""

    def __init__(self, root: str, run: str) -> None:
        self.folders: list[str] = []
        self.unfinished: dict[int, Entry] = {}
        self._root = root
        self._run = run

    def take(self, line: bytes) -> None:
        match _parsed(line):
            case {"folder": str(name)} if _is_inside(name):
                self.folders.append(self._absolute(name))
            case {"begin": int(number), **fields}:
                if (entry := self._entry(fields)) is not None:
                    self.unfinished[number] = entry
            case {"part": [int(number), int(start), int(size)], **fields} if (
                number in self.unfinished
            ):
                if (crc := _crc(fields)) is not None:
                    self.unfinished[number].marks[start] = Mark(start + size, crc)
            case {"end": int(number)}:
                self.unfinished.pop(number, None)
            case _:
                pass

    def _entry(self, fields: Mapping[object, object]) -> Entry | None:
        match fields:
            case {
                "target": str(target),
                "temporary": str(temporary),
                "origin": str(origin),
                "source": str(source),
                "identity": [str() | None as etag, str() | None as version, int(size)],
            } if _is_inside(target) and _is_inside(temporary):
                if is_part_of(posixpath.basename(temporary), self._run):
                    places = self._absolute(target), self._absolute(temporary)
                    stated = RemoteObject("", size, etag, version, **_optional(fields))
                    return Entry(*places, origin, source, stated)
        return None

    def _absolute(self, name: str) -> str:
        return posixpath.normpath(posixpath.join(self._root, name))


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _crc(fields: Mapping[object, object]) -> Crc | None:
    for algorithm in COMBINABLE:
        value = fields.get(algorithm)
        if isinstance(value, int):
            return Crc(algorithm, value)
    return None


def _optional(fields: Mapping[object, object]) -> dict[str, Any]:
    """What a line says of an object besides; journals of earlier versions say nothing."""
    stated: dict[str, Any] = {}
    match fields.get("checksum"):
        case [str(algorithm), str(value)]:
            stated["checksum"] = Checksum(algorithm, value)
    match fields.get("modified_ns"):
        case int(time_ns):
            stated["modified_ns"] = time_ns
    match fields.get("variant"):
        case str(variant):
            stated["variant"] = variant
    return stated


def _is_inside(path: str) -> bool:
    """Whether a relative path stays in its folder."""
    if path.startswith("/") or ".." in path.split("/"):
        return False
    return "\0" not in path and not _NO_NAME.search(path)
