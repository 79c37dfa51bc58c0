"""Where the entries of an archive are written before any of them is in the model's folder.

An archive is somebody else's program for this disk: each entry says what to make and where. So an
entry is a plain file or a folder, its name is an ordinary one, and there are limits:

    names     no ``..``, nothing absolute, no control characters, UTF-8; each only once, and no file
              where another entry needs a folder
    kinds     files and folders; links, devices and all else are refused
    number    at most ``MOST_ENTRIES``, with the folders that names imply
    bytes     at most ``MOST_RATIO`` times the archive, or ``ALWAYS_ALLOWED`` if that is more; and
              what is free on the file system

The folder is new, and files are opened in it as ``files/folders.py`` says: no link is followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

from kaiwo import units
from kaiwo.errors import DiskError, IntegrityError, UnsafeNameError
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, in_folder, open_folder
from kaiwo.files.names import fault_of_place

#: Files and folders of one archive; models have some hundreds.
MOST_ENTRIES = 100_000
#: Weights hardly shrink, and text shrinks to a tenth; a bomb shrinks to a thousandth.
MOST_RATIO = 100
#: A small archive may hold this much at any ratio: empty tables shrink as bombs do.
ALWAYS_ALLOWED = 64 << 20
#: Characters of an entry's name that a message shows.
_MOST_SHOWN = 120
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Others may write a file only once it is published: see ``files/modes.py``.
_MODE, _MODE_OF_PROGRAMS = 0o644, 0o755


def shown(name: str) -> str:
    """The name of an entry, for messages: bounded, and harmless for a terminal."""
    text = units.printable(name)
    return f"'{text if len(text) <= _MOST_SHOWN else f'{text[:_MOST_SHOWN]}…'}'"


class Staging:
    """The entries of one archive, below a folder that is theirs alone.

    Args:
        folder: absolute path; it is made.
        root: the folder that nothing may lead out of.
        archive: path of the archive, for messages.
        size: of the archive, in bytes.

    Attributes:
        folder: see above.
        kinds: of all entries so far, by their names relative to the folder.
        most_bytes: how much all files may have together.
    """

    def __init__(self, folder: str, root: Root, archive: str, size: int) -> None:
        self.kinds: dict[str, Literal["file", "folder"]] = {}
        self.most_bytes = max(size * MOST_RATIO, ALWAYS_ALLOWED)
        self.folder, self._root = folder, root
        self._archive = os.path.basename(archive)
        self._bytes = 0
        try:
            open_folder(folder, root, make=True)
            there = os.statvfs(folder)
        except OSError as error:
            raise disk_error(error, folder) from error
        self._free = there.f_bavail * there.f_frsize

    def refusal(self, name: str, fault: str) -> IntegrityError:
        """The error of an entry whose content or kind is refused."""
        return IntegrityError(f"archive {self._archive}: entry {shown(name)} {fault}")

    def damage(self, fault: str) -> IntegrityError:
        """The error of an archive that cannot be read."""
        text = units.printable(fault)
        return IntegrityError(f"archive {self._archive} cannot be unpacked: {text}")

    def require_room(self, size: int, entries: int = 0) -> None:
        """Return if these bytes and entries are allowed besides, and there is room for them.

        Raises:
            IntegrityError: the archive holds more than any model would.
            DiskError: there is not enough space.
        """
        if len(self.kinds) + entries > MOST_ENTRIES:
            raise IntegrityError(
                f"archive {self._archive} has more than {MOST_ENTRIES:,} files and folders; unpack "
                "it yourself, and let kaiwo fetch the folder"
            )
        total = self._bytes + size
        if total > self.most_bytes:
            raise IntegrityError(
                f"archive {self._archive} would become more than {units.size(self.most_bytes)}, "
                f"{MOST_RATIO} times its size: it is refused as a bomb; unpack it yourself, and "
                "let kaiwo fetch the folder"
            )
        if total > self._free:
            raise DiskError(
                f"archive {self._archive}: not enough space to unpack it: {units.size(total)} are "
                f"needed and {units.size(self._free)} are free; give the volume more"
            )

    def add_folder(self, name: str) -> None:
        """Make a folder; one may be named again.

        Raises:
            KaiwoError: it is refused, or cannot be made.
        """
        path = self._named(name)
        if path:
            self._claim(path, "folder")
            try:
                open_folder(f"{self.folder}/{path}", self._root, make=True)
            except OSError as error:
                raise self._refused_by_disk(error, name, 0) from error

    def add_file(
        self, name: str, size: int, chunks: Iterable[bytes], *, is_program: bool = False
    ) -> None:
        """Write a file.

        Args:
            name: as the archive has it.
            size: in bytes, as the archive states it.
            chunks: its bytes.
            is_program: its owner may run it.

        Raises:
            KaiwoError: it is refused, has another size, or cannot be written.
        """
        path = self._named(name)
        if not path or name.endswith("/"):
            raise self._unsafe(name, "it names no file")
        self.require_room(size)
        if path in self.kinds:
            raise self._unsafe(name, "an earlier entry has the same name")
        self._claim(path, "file")
        mode = _MODE_OF_PROGRAMS if is_program else _MODE
        try:
            descriptor = in_folder(
                f"{self.folder}/{path}",
                self._root,
                lambda folder, last: os.open(last, _NEW, mode, dir_fd=folder),
                make=True,
            )
        except OSError as error:
            raise self._refused_by_disk(error, name, size) from error
        try:
            written = self._write(descriptor, name, size, chunks)
        finally:
            os.close(descriptor)
        if written != size:
            raise self.refusal(name, f"has {written:,} bytes, and not the {size:,} it states")
        self._bytes += size

    def _write(self, descriptor: int, name: str, size: int, chunks: Iterable[bytes]) -> int:
        written = 0
        for chunk in chunks:
            if written + len(chunk) > size:
                raise self.refusal(name, f"has more than the {size:,} bytes it states")
            left = memoryview(chunk)
            while left:
                try:
                    left = left[os.write(descriptor, left) :]
                except OSError as error:
                    raise self._refused_by_disk(error, name, size) from error
            written += len(chunk)
        return written

    def _named(self, name: str) -> str:
        """An entry's name as a path below the folder; empty for the folder itself."""
        if name.startswith("/"):
            raise self._unsafe(name, "it is absolute")
        if "\\" in name:
            raise self._unsafe(name, "it has a backslash, which other systems take for a folder")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise self._unsafe(name, "it is not UTF-8") from None
        # ``tar -c .`` begins each name with ``./``.
        path = "/".join(each for each in name.split("/") if each not in ("", "."))
        if path and (fault := fault_of_place(f"{self.folder}/{path}", self.folder)):
            raise self._unsafe(name, fault)
        return path

    def _claim(self, path: str, kind: Literal["file", "folder"]) -> None:
        """Note an entry, and the folders that its name implies."""
        cut = path.rfind("/")
        above: list[str] = []
        while cut > 0 and path[:cut] not in self.kinds:
            above.append(path[:cut])
            cut = path.rfind("/", 0, cut)
        if cut > 0 and self.kinds[path[:cut]] == "file":
            raise self._unsafe(path, f"{shown(path[:cut])} is a file and a folder")
        if self.kinds.get(path, kind) != kind:
            raise self._unsafe(path, "it is a file and a folder")
        self.require_room(0, len(above) + (path not in self.kinds))
        self.kinds.update((each, "folder") for each in reversed(above))
        self.kinds[path] = kind

    def _unsafe(self, name: str, fault: str) -> UnsafeNameError:
        return UnsafeNameError(f"archive {self._archive}: entry {shown(name)}: {fault}")

    def _refused_by_disk(self, error: OSError, name: str, size: int) -> Exception:
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            fault = "this file system takes its name for that of another entry"
            return self._unsafe(name, fault)
        return disk_error(error, f"{self.folder}/{os.path.basename(name)}", size)
