"""Where a run and its workers in other processes meet: a folder in the download root.

    <root>/.kaiwo/run-<run>/run.json        by the run: that it goes on
    <root>/.kaiwo/run-<run>/<site>.jsonl    by each worker process: what has arrived, what it logs

All workers see the download root, because they write there: so no port, no address and no further
service is needed, for any executor. Each file has one writer. Network file systems ask
their server when a file is opened, so each look opens it.

    run.json is gone              the run is over
    it is the same for SILENT_S   so is the run: its process was killed, or cannot write any more
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import Struct

from kaiwo import units
from kaiwo.errors import DiskError
from kaiwo.files import documents
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, in_folder
from kaiwo.files.temporary_files import discard
from kaiwo.state.folder import meeting_folder, meeting_folders
from kaiwo.state.sharing import make_folder, root_of_state, share_file

_RUN = "run.json"
_LETTERS = ".jsonl"
#: A run says at least this often that it goes on; it counts as dead after such a silence.
BEAT_S, SILENT_S = 1.0, 30.0
#: At most so much of a site's letters is read at once.
_MOST = 1 << 20


class Beat(Struct, frozen=True):
    """What the run says.

    Attributes:
        count: another one each time.
        requests: how many requests all its workers have, as far as is known.
    """

    count: int
    requests: int


class Arrived(Struct, frozen=True, tag=True, array_like=True):
    """What has arrived of an object; see ``jobs.Progress``.

    Attributes:
        index: of the transfer.
        round: of the transfer.
        start: of the range.
        bytes: that were read.
        kept: bytes that were found.
        mark: how far the range is written: its end, the algorithm, and the value.
    """

    index: int
    round: int
    start: int
    bytes: int
    kept: int
    mark: tuple[int, str, int] | None


class Busy(Struct, frozen=True, tag=True, array_like=True):
    """How many jobs a site has under way."""

    jobs: int


class Logged(Struct, frozen=True, tag=True, array_like=True):
    """A log record of kaiwo."""

    level: int
    logger: str
    text: str

    def repeat(self, where: str) -> None:
        """Log it here, with the place where it was logged. What another machine says is data."""
        if self.logger == "kaiwo" or self.logger.startswith("kaiwo."):
            text = units.printable(self.text)
            logging.getLogger(self.logger).log(self.level, "%s: %s", where, text)


Letter = Arrived | Busy | Logged
_decoder = msgspec.json.Decoder(Letter)
_encoder = msgspec.json.Encoder()


class Meeting:
    """The folder, as the run has it: one in each root, of which the first has the letters.

    Args:
        run: token of the run.
        roots: of its targets, one for each file system.

    Attributes:
        folders: the paths.

    Raises:
        DiskError: a folder cannot be made.
    """

    def __init__(self, run: str, roots: Iterable[str]) -> None:
        self._count = 0
        self._read: dict[str, int] = {}
        self._requests = 0
        self.folders: tuple[str, ...] = ()
        for root in roots:
            folder = meeting_folder(root, run)
            self.folders += (folder,)
            try:
                make_folder(folder, root_of_state(folder))
                self._write(folder)
            except OSError as error:
                self.close()
                raise disk_error(error, folder) from error
        self._root = root_of_state(self.folders[0])

    def beat(self, requests: int) -> None:
        """Say that the run goes on, and how many requests there are."""
        self._count += 1
        self._requests = requests
        with contextlib.suppress(OSError):  # the next beat may succeed
            self._write(self.folders[0])

    def _write(self, folder: str) -> None:
        root = root_of_state(folder)
        path = posixpath.join(folder, _RUN)
        documents.replace(
            path,
            [_encoder.encode(Beat(self._count, self._requests))],
            f"{path}.part",
            0o600,
            lambda descriptor: share_file(descriptor, root),
            root,
        )

    def letters(self) -> Iterator[tuple[str, Letter]]:
        """What sites have said since the last time, each with its site."""
        for name in _names_in(self.folders[0]):
            if not name.endswith(_LETTERS):
                continue
            path = posixpath.join(self.folders[0], name)
            data = _read_from(path, self._read.get(name, 0), _MOST, self._root)
            whole = data[: data.rfind(b"\n") + 1]
            self._read[name] = self._read.get(name, 0) + len(whole)
            for line in whole.splitlines():
                # What is on a volume is data: a line that is no letter says nothing.
                with contextlib.suppress(msgspec.DecodeError):
                    yield name.removesuffix(_LETTERS), _decoder.decode(line)

    def end(self) -> None:
        """The run is over: its workers see that from now on."""
        for folder in self.folders:
            discard(posixpath.join(folder, _RUN), root_of_state(folder))

    def close(self) -> None:
        """Remove the folders."""
        for folder in self.folders:
            _remove(folder)


def end_dead(roots: Iterable[str], run: str, is_dead: Callable[[str, str], bool]) -> None:
    """Tell the workers of runs that were killed that these are over.

    Args:
        roots: of the targets of a run.
        run: its token.
        is_dead: whether another run is over, by its root and token.
    """
    for root in roots:
        for other, left in meeting_folders(root):
            if other != run and is_dead(root, other):
                _remove(left)


def _remove(folder: str) -> None:
    root = root_of_state(folder)
    for name in _names_in(folder):
        discard(posixpath.join(folder, name), root)
    for each in (folder, posixpath.dirname(folder)):  # each if nothing else is in it
        with contextlib.suppress(OSError):
            in_folder(each, root, lambda above, name: os.rmdir(name, dir_fd=above))


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read_from(path: str, offset: int, most: int, root: Root) -> bytes:
    """What a file has from there on; nothing where it cannot be read."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = in_folder(path, root, lambda folder, name: os.open(name, flags, dir_fd=folder))
    except OSError:
        return b""
    with open(descriptor, "rb", buffering=0) as file:
        try:
            return os.pread(file.fileno(), most, offset)
        except OSError:
            return b""


def read_beat(folder: str, root: Root) -> Beat | None:
    """What the run last said; None where it is over, or its folder is not seen.

    Raises:
        OSError: that cannot be told now.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    path = posixpath.join(folder, _RUN)
    try:
        descriptor = in_folder(path, root, lambda above, name: os.open(name, flags, dir_fd=above))
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(descriptor, "rb", buffering=0) as file:
        try:
            return msgspec.json.decode(file.read(1000), type=Beat)
        except msgspec.DecodeError as error:
            raise OSError(errno.EIO, "it cannot be read") from error


def unseen_of(folders: Iterable[str]) -> str | None:
    """The folder of a run that is not seen here, if any.

    Raises:
        DiskError: that cannot be told.
    """
    for folder in folders:
        try:
            if read_beat(folder, root_of_state(folder)) is None:
                return folder
        except OSError as error:
            raise DiskError(f"cannot read {folder}: {error.strerror}") from error
    return None


class LetterBox:
    """Where a site writes.

    Args:
        folder: of the run.
        site: a name that no other one has.
    """

    def __init__(self, folder: str, site: str) -> None:
        self._path = posixpath.join(folder, f"{site}{_LETTERS}")
        self._root = root_of_state(folder)
        self._is_made = False

    def post(self, letters: Iterable[Letter]) -> None:
        """Write letters; they are lost where the folder cannot be written: it is progress only."""
        data = _encoder.encode_lines(letters)
        with contextlib.suppress(OSError):
            in_folder(self._path, self._root, lambda folder, name: self._append(folder, name, data))

    def _append(self, folder: int | None, name: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        if not self._is_made:
            flags |= os.O_CREAT | os.O_EXCL
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        # Closed each time: network file systems send then what was written.
        try:
            if not self._is_made:
                self._is_made = True
                share_file(descriptor, self._root)
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
