"""The journal of this run: what a later run needs if this one is killed.

One file for each run and root, ``<root>/.kaiwo/journal-<run>.jsonl``, without secrets.
It is removed when the run has ended and nothing is unfinished:

    {"kaiwo-journal": 1}
    {"folder": "models"}                         may hold temporary files of this run
    {"begin": 0, "target": "models/a.bin", "temporary": "models/.kaiwo-9f1c22aa-0.part",
     "origin": "https://s3...", "source": "s3://bucket/a.bin", "identity": ["etag", null, 99],
     "checksum": ["md5", "..."], "modified_ns": 1, "variant": null}
    {"part": [0, 8388608, 8388608], "crc64nvme": 123}        of which object, start, length
    {"end": 0}                                   published, or given up: nothing is left of it

The last line of a range counts: it says how far the range is written. When most lines are replaced
by later ones, the file is written again without them.

Only objects that come in ranges have lines beside their folder's. A run that takes over the
temporary file of an earlier run writes that down before it renames the file. So whenever it is
killed, one of the two journals names a file that exists. ``earlier_runs.py`` reads journals.
"""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Hashable, Iterable, Mapping

from msgspec import to_builtins

from kaiwo.files.temporary_files import discard
from kaiwo.jobs import Mark, Transfer
from kaiwo.objects import is_identified
from kaiwo.state.compaction import compact
from kaiwo.state.json_lines import Appender, header_of
from kaiwo.state.sharing import root_of_state

HEADER = header_of("journal", 1)
#: The file is not written again before it has this many lines.
MOST_LINES = 10_000
logger = logging.getLogger(__name__)


class Journal:
    """The journal of this run in one root; the file is made when the first line is written.

    If it cannot be written, there is one warning, and the run continues.
    """

    def __init__(self, path: str, root: str) -> None:
        self._path = path
        self._root = root
        self._state_root = root_of_state(posixpath.dirname(path))
        consequence = "if this run is killed, the next one cannot resume it"
        # What is written only when the run ends is of no use after a kill.
        self._file = Appender(path, HEADER, consequence, replaces=False, is_shared=False)
        self._numbers: dict[str, int] = {}
        self._next = 0
        #: How many lines there are since the file was last written anew, and how many would stay.
        self._lines = 0
        self._live: set[tuple[int, int]] = set()

    def note_folders(self, folders: Iterable[str]) -> None:
        """These folders may get temporary files of this run."""
        self._append(*({"folder": self._relative(folder)} for folder in folders))

    def begin(self, transfer: Transfer) -> None:
        """An object begins; what is taken over from an earlier run is written down, too.

        An object of which only the size is stated is not: it may be another one later.
        """
        if not is_identified(transfer.object):
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
            "identity": [remote.etag, remote.version, remote.size],
            "checksum": to_builtins(remote.checksum),
            "modified_ns": remote.modified_ns,
            "variant": remote.variant,
        }
        marks = transfer.partial.marks if transfer.partial is not None else {}
        self._append(begun, *(_part(number, start, mark) for start, mark in marks.items()))

    def note_marks(self, marks: Iterable[tuple[Transfer, int, Mark]]) -> None:
        """Ranges are in the temporary files, as far as the marks say; see ``State``."""
        parts = [
            (number, start, mark)
            for transfer, start, mark in marks
            if (number := self._numbers.get(transfer.temporary)) is not None
        ]
        if not parts:
            return
        self._append(*(_part(*each) for each in parts))
        self._live.update((number, start) for number, start, _ in parts)
        self._lines += len(parts)
        if self._lines > MOST_LINES + 2 * len(self._live):
            self._lines = 0
            self._fold()

    def _fold(self) -> None:
        """Write the file again with the last line of each range only."""
        self._file.close()
        try:
            compact(self._path, HEADER, _key)
        except OSError as error:
            logger.debug("%s stays as long as it is: %s", self._path, error.strerror)

    def end(self, transfer: Transfer) -> None:
        """The object is in place or given up: its temporary file is gone."""
        number = self._numbers.pop(transfer.temporary, None)
        if number is not None:
            self._append({"end": number})

    def can_resume(self, transfer: Transfer) -> bool:
        """Whether a later run could resume the object from its temporary file."""
        return transfer.temporary in self._numbers and not self._file.has_failed

    def close(self, *, ended: bool) -> None:
        """Close the file.

        Args:
            ended: the run was not interrupted; the file is removed if nothing is unfinished.
        """
        was_open = self._file.is_open
        self._file.close()
        if was_open and ended and not self._numbers:
            discard(self._path, self._state_root)

    def _relative(self, path: str) -> str:
        return posixpath.relpath(path, self._root)

    def _append(self, *documents: Mapping[str, object]) -> None:
        lines = "".join([json.dumps(each, ensure_ascii=True) + "\n" for each in documents])
        self._file.append(lines.encode("ascii"))


def _part(number: int, start: int, mark: Mark) -> dict[str, object]:
    return {"part": [number, start, mark.end - start], mark.crc.algorithm: mark.crc.value}


def _key(line: bytes) -> Hashable | None:
    """Of lines with equal keys, the last one counts; None: nobody needs it."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    match document:
        case {"part": [int(number), int(start), int()]}:
            return number, start
        case _:
            return line
