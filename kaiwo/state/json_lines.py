"""Files of JSON lines that several runs append to, and that a kill may tear at any byte.

The first line is a header that names the kind and the version of the file: ``{"kaiwo-...": 1}``.
Lines are appended by one write each time, so that two runs do not mix theirs. A run can be killed,
and a disk can fill up, within a write:

    torn first line   a beginning of the header and nothing else: the file counts as empty
    torn last line    the next writer ends it first, so that it does not spoil the next line
    foreign file      any other first line: another kind, or the version of a newer kaiwo. It is
                      not read, and must not be written or removed

Mounts of object stores cannot append to a file that exists. There, lines are kept in memory, and
the file is replaced by a longer one when it is closed.

What a line means, and whether to believe it, is the business of the manifest and the journal.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable

from kaiwo import own_names
from kaiwo.files.disk_errors import NO_RANDOM_WRITES, disk_error
from kaiwo.files.folders import in_folder, open_new
from kaiwo.files.renames import rename
from kaiwo.files.repeat import PASSING, repeat
from kaiwo.files.temporary_files import discard
from kaiwo.state.folder import log_level
from kaiwo.state.sharing import make_folder, root_of_state, share_file

logger = logging.getLogger(__name__)


def header_of(kind: str, version: int) -> bytes:
    """The first line of a file of that kind."""
    return b'{"kaiwo-%s": %d}\n' % (kind.encode("ascii"), version)


class Reader:
    """Reads the lines of a file, and later only those that were appended since then.

    Args:
        path: of the file; it need not exist.
        header: its first line.

    Attributes:
        is_foreign: it is a foreign file, or none that can be read.
        is_other_version: it is a foreign file.
    """

    def __init__(self, path: str, header: bytes) -> None:
        self.is_foreign = False
        self.is_other_version = False
        self._path = path
        self._header = header
        self._file: tuple[int, int] | None = None
        self._end = 0

    def read(self, take: Callable[[bytes], object]) -> bool:
        """Pass each new line to ``take``, the header excepted.

        A last line without its end is passed, and passed again by the next call: another run may
        have been writing it.

        Returns:
            False if this is not the file of the last call, or has become shorter. Nothing was
            passed then; a new reader has to read it.
        """
        try:
            # What was read stays read: a repeated call continues behind it.
            return repeat(lambda: self._read_on(take))
        except FileNotFoundError:
            return self._file is None
        except OSError as error:
            self._refuse("cannot read %s (%s): kaiwo ignores it", self._path, error.strerror)
        return True

    def _read_on(self, take: Callable[[bytes], object]) -> bool:
        # Another run removes its journal at any moment, so only an open file can be judged. And
        # opening it makes network file systems ask their server, where stat may not.
        with open(self._path, "rb", opener=without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                self._refuse("%s is not a regular file: kaiwo ignores it", self._path)
                return True
            found = status.st_dev, status.st_ino
            if self._file not in (None, found) or status.st_size < self._end:
                return False
            self._file = found
            if self.is_foreign:
                return True
            file.seek(self._end)
            for line in file:
                is_whole = line[-1:] == b"\n"
                if self._end:
                    take(line)
                elif line != self._header:
                    self.is_foreign = is_whole or not self._header.startswith(line)
                    self.is_other_version = self.is_foreign
                    return True
                if is_whole:
                    self._end += len(line)
        return True

    def _refuse(self, message: str, *details: object) -> None:
        if not self.is_foreign:
            logger.warning(message, *details)
        self.is_foreign = True


class Appender:
    """Appends lines to a file, which it makes when the first lines are written.

    If the file cannot be written, it says so once, and writes nothing from then on. A file that
    cannot be appended to is replaced by a longer one when it is closed.

    Args:
        path: of the file.
        header: its first line.
        consequence: for the warning: what a later run will lack.
        replaces: a file that cannot be appended to is replaced.
        is_shared: other runs write it, too, and may replace it.

    Attributes:
        has_failed: lines were lost.
    """

    def __init__(
        self,
        path: str,
        header: bytes,
        consequence: str,
        *,
        replaces: bool = True,
        is_shared: bool = True,
    ) -> None:
        self.has_failed = False
        self._path = path
        self._root = root_of_state(os.path.dirname(path))
        self._header = header
        self._consequence = consequence
        self._replaces = replaces
        self._is_shared = is_shared
        self._descriptor: int | None = None
        #: Lines for a file that cannot be appended to.
        self._kept: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Lines were written, and the file is still open."""
        return self._descriptor is not None

    def append(self, lines: bytes) -> None:
        """Append whole lines, by one write."""
        if self.has_failed:
            return
        if self._kept:
            self._kept.append(lines)
            return
        try:
            repeat(lambda: self._write(lines))
        except OSError as error:
            if error.errno in NO_RANDOM_WRITES and self._replaces:
                self._kept.append(lines)
            else:
                self._fail(error)

    def _write(self, lines: bytes) -> None:
        """Append them, all or with an error; what a repeated call appends twice does no harm."""
        descriptor = self._opened()
        try:
            if os.write(descriptor, lines) == len(lines):
                return
            # A signal or a full disk cut it short. Another run may have appended since then, so the
            # torn line is ended, and all lines come again.
            _write_whole(descriptor, b"\n" + lines)
        except OSError as error:
            if error.errno in PASSING:
                self._close()  # a stale handle stays stale
            raise

    def _fail(self, reason: OSError) -> None:
        self.has_failed = True
        message = disk_error(reason, self._path).message
        logger.log(log_level(reason, self._path), "%s; %s", message, self._consequence)

    def close(self) -> None:
        """Close the file; it is opened again for further lines."""
        self._close()
        if self._kept:
            try:
                self._replace()
            except OSError as error:
                self._fail(error)
            self._kept.clear()

    def _close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _replace(self) -> None:
        """Put a file in place of this one that has the new lines, too; raises OSError."""
        folder, name = os.path.split(self._path)
        temporary = os.path.join(folder, own_names.document_part_name(name))
        before = self._header
        with contextlib.suppress(FileNotFoundError), open(self._path, "rb") as file:
            before = file.read()
        if len(before) < len(self._header):
            before = self._header  # it has a torn first line, or none
        elif not before.endswith(b"\n"):
            before += b"\n"  # after a torn last line
        try:
            # Nobody else may read it yet.
            with os.fdopen(open_new(temporary, self._root, 0o600), "wb") as file:
                share_file(file.fileno(), self._root)
                file.write(b"".join((before, *self._kept)))
            rename(temporary, self._path, self._root)
        except BaseException:  # the exception of a signal, too
            discard(temporary, self._root)
            raise

    def _is_replaced(self, descriptor: int) -> bool:
        """Whether another run has put a shorter file in place of the one that is open."""
        try:
            now, own = os.stat(self._path), os.fstat(descriptor)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino)

    def _opened(self) -> int:
        if self._is_shared and self._descriptor is not None and self._is_replaced(self._descriptor):
            self._close()
        if self._descriptor is None:
            make_folder(os.path.dirname(self._path), self._root)
            descriptor = in_folder(self._path, self._root, _open_to_append)
            try:
                self._prepare(descriptor)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        return self._descriptor

    def _prepare(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size == 0:
            share_file(descriptor, self._root)
            # Two runs that begin together may both write it; readers skip the second header.
            _write_whole(descriptor, self._header)
        elif size < len(self._header):
            os.ftruncate(descriptor, 0)  # a torn first line
            _write_whole(descriptor, self._header)
        elif os.pread(descriptor, 1, size - 1) != b"\n":
            os.write(descriptor, b"\n")  # after a torn last line


def _write_whole(descriptor: int, data: bytes) -> None:
    """Append them by one write; a write that is cut short again has met the end of the disk."""
    if os.write(descriptor, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def without_waiting(path: str, flags: int) -> int:
    """Open what may be a pipe that nobody writes to."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def _open_to_append(folder: int | None, name: str) -> int:
    # A link at this name leads to a file of somebody else.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(name, flags, 0o600, dir_fd=folder)
