"""The manifest: what is in place in a root, so that a second run reads no object bytes.

One file for each root, ``<root>/.kaiwo/manifest.jsonl``, without secrets. Its first line is
``{"kaiwo-manifest": 1}``; each further line is one publication:

    {"target": "models/a.bin", "origin": "https://s3...", "source": "s3://bucket/a.bin",
     "size": 12, "etag": "...", "version": null, "mtime_ns": 1, "checksum": ["md5", "..."],
     "modified_ns": 1, "variant": null, "checked": true, "crc32": "0b1e2c3d"}

A line whose ``target`` ends in a slash is an answer about a listed object (``workers/doubts.py``),
with what its listing stated and its real size. Its ``source`` ends in a slash, too, if the object
is no file but a folder's placeholder. No file has such a target, so earlier versions of kaiwo
ignore the line. An answer that it is a placeholder ends with the next publication of that target.

A file of a generation that is being filled (``files/generations.py``) has the path that it has
there. Once the generation is the target, lines with the path of the target are appended.

``target`` is relative to the root; the last line of a target counts. Earlier ones are removed at
the end of a run if they are many and no other run is at work in the root. ``crc32`` is the checksum
of the line in front of it: a line that is torn or damaged is skipped. A manifest of another version
is not read and not written. A file counts as unchanged only if the store still states the same
bytes, and the file still has the size and modification time that it was published with.

Longer than 300 lines: publications and answers, which are lines of one file.
"""

from __future__ import annotations

import logging
import os
import posixpath
from collections.abc import Hashable, Iterable

import msgspec
from msgspec.structs import replace

from kaiwo.files.disk_errors import disk_error
from kaiwo.files.paths import regular_file
from kaiwo.jobs import Outcome, Transfer
from kaiwo.objects import Answer, is_identified
from kaiwo.own_names import is_staged, switched
from kaiwo.protocols import Opener
from kaiwo.state.compaction import compact
from kaiwo.state.folder import manifest_path
from kaiwo.state.json_lines import Appender, Reader, header_of
from kaiwo.state.records import Record, line_of, parsed, unsealed

_HEADER = header_of("manifest", 1)
#: In any manifest, this number of lines may be old.
_FEW = 50
logger = logging.getLogger(__name__)


class Manifest:
    """The manifest of one root: read at once, appended to as objects are published.

    Args:
        root: absolute path.
        state_dir: see ``folder.py``.
        checked: see ``Record``, for what this run publishes.
    """

    def __init__(self, root: str, state_dir: str | None = None, *, checked: bool = True) -> None:
        self._checked = checked
        self._root = root
        self._below = root.rstrip("/") + "/"
        self._path = manifest_path(root, state_dir)
        consequence = "the next run will have to check the files again"
        self._file = Appender(self._path, _HEADER, consequence)
        self._decoder = msgspec.json.Decoder(Record)
        self._read()

    def _read(self) -> None:
        self._records: dict[str, Record] = {}
        self._unsettled: list[Transfer] = []
        self._answers: dict[tuple[str, str, str], Record] = {}
        self._lines = self._appended = 0
        self._reader = Reader(self._path, _HEADER)
        self._reader.read(self._take)
        if self._reader.is_other_version:
            message = (
                "%s is damaged, or of another version of kaiwo: kaiwo ignores it; remove it if no "
                "other version is in use there"
            )
            logger.warning(message, self._path)

    def refresh(self) -> bool:
        """Read what was appended since then; says whether that changed anything that is known.

        A manifest that was replaced or has become shorter is read again from its beginning. What
        this run itself has appended is read like any other line.
        """
        changed = False

        def take(line: bytes) -> None:
            nonlocal changed
            changed = self._take(line) or changed

        self._appended = 0
        if self._reader.read(take):
            return changed
        before = self._records
        self._file.close()  # it may write to a file that is gone
        self._read()
        return self._records != before

    def _take(self, line: bytes) -> bool:
        """Take a line in; says whether other things are in place than before."""
        self._lines += 1
        record = parsed(line, self._decoder)
        if record is None:
            return False
        if record.target.endswith("/"):
            self._answers[_object_of(record)] = record
            return False
        if self._answers:
            self._forget_placeholder(record)
        changed = self._records.get(record.target) != record
        self._records[record.target] = record
        return changed

    def _forget_placeholder(self, published: Record) -> None:
        answer = self._answers.get(_object_of(published))
        if answer is not None and answer.source.endswith("/"):
            del self._answers[_object_of(answer)]

    def find(self, transfer: Transfer, status: os.stat_result) -> Record | None:
        """The record of the transfer's target, if it is of this object and this very file.

        Whether the object has the same bytes still is for the caller to compare.

        Args:
            transfer: the object as its store states it now.
            status: of the file at the target now.
        """
        record = self._find(transfer.target, transfer, status)
        if record is None and transfer.staged and not os.path.lexists(transfer.destination):
            # A run was killed right after it had switched a link.
            record = self._find(transfer.destination, transfer, status)
            if record is not None:
                self._unsettled.append(transfer)
        return record

    def find_staged(self, transfer: Transfer, status: os.stat_result) -> Record | None:
        """The same, for the file in the next generation, which has that status."""
        return self._find(transfer.destination, transfer, status)

    def _find(self, path: str, transfer: Transfer, status: os.stat_result) -> Record | None:
        record = self._records.get(self._relative(path))
        if record is None:
            return None
        if (record.origin, record.source) != (transfer.opener.origin, transfer.source):
            return None
        if (status.st_size, status.st_mtime_ns) != (record.size, record.mtime_ns):
            return None
        return record

    def remember(self, outcomes: Iterable[Outcome]) -> None:
        """Append what was published or adopted; if that fails, there is one warning."""
        if self._reader.is_foreign:
            return
        lines = [line_of(self._record(outcome)) for outcome in outcomes]
        self._appended += len(lines)
        # One write for all of a batch: each hands the interpreter to the workers and waits for it.
        self._file.append(b"".join(lines))

    def settle(self, switched: Iterable[Transfer] = ()) -> None:
        """Append what is at targets since their links were switched.

        Args:
            switched: whose files were in the next generation, which is the target now.
        """
        if not (transfers := [*switched, *self._unsettled]):
            return
        self.refresh()
        lines = [
            line_of(replace(record, target=self._relative(each.target)))
            for each in transfers
            if (record := self._records.get(self._relative(each.destination))) is not None
        ]
        self._unsettled = []
        if lines and not self._reader.is_foreign:
            self._file.append(b"".join(lines))
            self.refresh()

    def answers(self, origin: str, url: str) -> tuple[Answer, ...]:
        """What is known of the doubtful objects below a URL.

        Args:
            origin: of the service.
            url: of the bucket: what comes before the keys.
        """
        return tuple(
            Answer(
                replace(record.object, key=record.source.removeprefix(url).removesuffix("/")),
                record.source.endswith("/"),
            )
            for record in self._answers.values()
            if record.origin == origin and record.source.startswith(url)
        )

    def remember_answer(self, target: str, opener: Opener, answer: Answer) -> None:
        """Append an answer, unless it is known already.

        Args:
            target: where the object would go.
            opener: of its store.
            answer: about the object.
        """
        remote = answer.object
        lasts = answer.is_lasting and is_identified(remote)
        if self._reader.is_foreign or not lasts:
            return
        record = Record(
            f"{self._relative(target)}/",
            opener.origin,
            opener.url(remote.key) + ("/" if answer.is_placeholder else ""),
            remote.size,
            remote.etag,
            remote.version,
            0,
            None,
            remote.modified_ns,
            remote.variant,
        )
        if self._answers.get(_object_of(record)) != record:
            self._answers[_object_of(record)] = record
            self._file.append(line_of(record))

    def _record(self, outcome: Outcome) -> Record:
        transfer, remote = outcome.transfer, outcome.transfer.object
        return Record(
            self._relative(transfer.destination if outcome.staged else transfer.target),
            transfer.opener.origin,
            transfer.source,
            remote.size,
            remote.etag,
            remote.version,
            outcome.mtime_ns,
            outcome.checksum if outcome.verified else None,
            remote.modified_ns,
            remote.variant,
            self._checked,
        )

    def compact(self) -> None:
        """Remove lines that later ones have replaced, if these are many."""
        if not self._has_many_old_lines():
            return  # what was appended need not be read
        self.refresh()
        if self._reader.is_foreign or not self._has_many_old_lines():
            return
        self._file.close()
        try:
            compact(self._path, _HEADER, self._key_of)
        except OSError as error:
            logger.debug("%s keeps its old lines: %s", self._path, error.strerror)

    def records(self) -> tuple[Record, ...]:
        """What is known of each target."""
        found = {target: each for target, each in self._records.items() if not is_staged(target)}
        for each in map(self._switched, self._records.values()):
            if each is not None:
                found[each.target] = each
        return tuple(found.values())

    def _switched(self, staged: Record) -> Record | None:
        """What a line of the next generation says of the target since the link was switched.

        None if that was not done, or has its line: the run was not killed right after it.
        """
        if (target := switched(staged.target)) is None:
            return None
        record = replace(staged, target=target)
        known = self._records.get(target) == record
        if known or os.path.lexists(f"{self._below}{staged.target}"):
            return None
        status = regular_file(f"{self._below}{target}")
        as_published = record.size, record.mtime_ns
        is_there = status is not None and as_published == (status.st_size, status.st_mtime_ns)
        return record if is_there else None

    def record_of(self, target: str) -> Record | None:
        """What is known of the file at that absolute path."""
        return self._records.get(self._relative(target))

    def gone(self) -> tuple[tuple[str, ...], bool]:
        """The targets, as absolute paths, of files that are not there any more.

        None are named, and the second value is true, where no file of this manifest is still as it
        was published: the root may be empty, or another file system than before.
        """
        gone: list[str] = []
        is_same = False
        for record in self.records():
            target = posixpath.normpath(posixpath.join(self._root, record.target))
            try:
                status = os.stat(target)
            except (FileNotFoundError, NotADirectoryError):
                if not os.path.lexists(target):
                    gone.append(target)
            except OSError:
                continue  # nobody knows
            else:
                as_published = (status.st_size, status.st_mtime_ns)
                is_same = is_same or as_published == (record.size, record.mtime_ns)
        return (tuple(gone), False) if is_same else ((), bool(gone))

    def forget(self, targets: Iterable[str]) -> None:
        """Remove the lines of these targets; no other run may be at work in the root."""
        names = {self._relative(each) for each in targets}
        if self._reader.is_foreign:
            return

        def key_of(line: bytes) -> Hashable | None:
            record = parsed(line, self._decoder)
            is_named = record is not None and record.target in names
            return None if is_named else self._key_of(line)

        self._file.close()
        try:
            compact(self._path, _HEADER, key_of)
        except OSError as error:
            logger.warning("%s", disk_error(error, self._path).message)

    def _has_many_old_lines(self) -> bool:
        known = len(self._records) + len(self._answers)
        # A run appends few targets twice.
        return self._lines + self._appended > _FEW + max(known, self._appended) * 3 // 2

    def _key_of(self, line: bytes) -> Hashable | None:
        """What a line is about; None for one that does not count any more."""
        record = parsed(line, self._decoder)
        if record is None:
            return unsealed(line)  # this version does not know it, or it is torn
        if is_staged(record.target) and not os.path.lexists(f"{self._below}{record.target}"):
            return record.target if self._switched(record) else None
        if not record.target.endswith("/"):
            return record.target
        about = _object_of(record)
        return about if about in self._answers else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _relative(self, target: str) -> str:
        # Most targets are below their root; only a user who asks for it gets another place.
        if target.startswith(self._below):
            return target[len(self._below) :]
        return posixpath.relpath(target, self._root)


def _object_of(record: Record) -> tuple[str, str, str]:
    """What a line is about, be it an answer or a publication: target, service and URL."""
    return record.target.removesuffix("/"), record.origin, record.source.removesuffix("/")
