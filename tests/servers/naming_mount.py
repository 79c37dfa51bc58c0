"""A file system with rules for names, as those of sticks, shares and desktops have.

    python -m tests.servers.naming_mount BACKING MOUNT [RULE ...]

As ``sequential_mount``, but files are written anywhere. Two names are one file if the rules make
them equal; the first one that was given to the file stays:

    case        upper and lower case are equal
    form        an accented letter in one character and in two are equal
    ends        dots and spaces at the end of a name do not count (vfat, shares)
    short       a file answers to its name of eight letters, too (vfat: ``LONGNA~1.TXT``)
    longest=N   a name has at most N bytes (eCryptfs: 143)
    room=N      at most N bytes are stored; more is EDQUOT
"""

from __future__ import annotations

import errno
import os
import struct
import unicodedata

from tests.servers.sequential_mount import SequentialMount, serve


class NamingMount(SequentialMount):
    """See the module."""

    def __init__(self, backing: str, rules: set[str]) -> None:
        super().__init__(backing, set())
        given = dict(each.partition("=")[::2] for each in rules)
        self._rules = given
        self._backing = backing

    def _child(self, path: str, name: bytes) -> str:
        wanted = os.fsdecode(name.partition(b"\0")[0])
        if len(os.fsencode(wanted)) > int(self._rules.get("longest", 255)):
            raise OSError(errno.ENAMETOOLONG, "")
        if "ends" in self._rules:
            wanted = wanted.rstrip(". ")
        there = sorted(os.listdir(path))
        for each in there:
            if self._equal(each) == self._equal(wanted):
                return os.path.join(path, each)
        for each in there:
            if "short" in self._rules and _short(each) == wanted.upper():
                return os.path.join(path, each)
        return os.path.join(path, wanted)

    def _equal(self, name: str) -> str:
        if "form" in self._rules:
            name = unicodedata.normalize("NFC", name)
        return name.lower() if "case" in self._rules else name

    def _write(self, path: str, data: bytes) -> bytes:
        descriptor, offset, size = struct.unpack_from("<QQI", data)
        if "room" in self._rules and self._used() + size > int(self._rules["room"]):
            raise OSError(errno.EDQUOT, "")
        self._ends[descriptor] = offset
        return super()._write(path, data)

    def _used(self) -> int:
        files = (
            os.path.join(at, name) for at, _, names in os.walk(self._backing) for name in names
        )
        return sum(os.lstat(each).st_size for each in files)

    def _space(self, *_: object) -> bytes:
        longest = int(self._rules.get("longest", 255))
        return struct.pack("<5Q4I24x", 1 << 30, 1 << 30, 1 << 30, 0, 0, 4096, longest, 4096, 0)


def _short(name: str) -> str | None:
    """The first name of eight letters that a long one gets."""
    stem, _, suffix = name.rpartition(".") if "." in name else (name, "", "")
    if len(stem) <= 8 and len(suffix) <= 3:
        return None
    return f"{stem.replace('.', '')[:6].upper()}~1" + (f".{suffix[:3].upper()}" if suffix else "")


if __name__ == "__main__":
    serve(NamingMount)
