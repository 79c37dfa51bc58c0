"""The entries of a zip archive, by its directory at the end.

zipfile makes an object of each line of that directory before it gives any, so the lines are counted
first. All entries are judged before the first is written: kind, compression, encryption, the sum of
the sizes, and that no two of them share bytes, which is how a small archive becomes petabytes.

What an entry states is compared with what comes out of it: size and CRC.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from kaiwo.files.disk_errors import disk_error
from kaiwo.initializer.staging import Staging

_BLOCK = 1 << 20
#: How each line of the directory begins.
_LINE = b"PK\x01\x02"
#: Bytes of all lines together: a line has 46, and a name.
_MOST_OF_LINES = 32 << 20
#: Bytes before an entry's data, without its name and its extra field.
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_KINDS = (0, stat.S_IFREG, stat.S_IFDIR)


def unpack(file: BinaryIO, staging: Staging) -> None:
    """Write all entries.

    Args:
        file: the archive.
        staging: gets the entries.

    Raises:
        KaiwoError: the archive or one of its entries is refused, or cannot be written.
    """
    try:
        _require_few(file, staging)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _require_harmless(entries, staging, os.fstat(file.fileno()).st_size)
            for entry in entries:
                _add(archive, entry, staging)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise staging.damage(str(error) or "it ends too early") from error
    except OSError as error:
        raise disk_error(error, file.name) from error


def _require_few(file: BinaryIO, staging: Staging) -> None:
    """Count the lines of the directory, before anything is made of them.

    The directory is found by zipfile's own function: another reading of the same bytes could find
    another one.
    """
    found: Sequence[Any] | None = getattr(zipfile, "_EndRecData")(file)  # noqa: B009 - not typed
    if not found:
        raise staging.damage("it has no directory")
    size, end = int(found[5]), int(found[9])
    if found[0] == b"PK\x06\x06":  # of zip64: its two records stand between
        end -= 56 + 20
    if not 0 <= size <= min(_MOST_OF_LINES, end):
        raise staging.damage("its directory is larger than that of any model")
    file.seek(end - size)
    staging.require_room(0, file.read(size).count(_LINE))


def _require_harmless(entries: Sequence[zipfile.ZipInfo], staging: Staging, size: int) -> None:
    """Judge all entries by what the directory of an archive of that size says."""
    for entry in entries:
        if entry.orig_filename != entry.filename:
            raise staging.refusal(entry.orig_filename, "has a name with a zero byte")
        if stat.S_IFMT(entry.external_attr >> 16) not in _KINDS:
            raise staging.refusal(
                entry.filename, "is a link or a device: neither is followed or made"
            )
        if entry.flag_bits & _ENCRYPTED:
            raise staging.refusal(entry.filename, "is encrypted")
        if entry.compress_type not in _COMPRESSIONS:
            raise staging.refusal(entry.filename, "is compressed by another way than deflate")
    staging.require_room(sum(entry.file_size for entry in entries))
    end = 0
    for entry in sorted(entries, key=lambda each: each.header_offset):
        if entry.header_offset < end:
            raise staging.refusal(entry.filename, "shares bytes with another one")
        end = entry.header_offset + _LOCAL_HEADER + entry.compress_size
        if end > size:
            raise staging.refusal(entry.filename, "lies behind the end of the archive")


def _add(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, staging: Staging) -> None:
    if entry.is_dir():
        if entry.file_size:
            raise staging.refusal(entry.filename, "is a folder with bytes")
        staging.add_folder(entry.filename)
        return
    staging.add_file(entry.filename, entry.file_size, _chunks(archive, entry, staging))


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, staging: Staging) -> Iterator[bytes]:
    try:
        with archive.open(entry) as content:
            while chunk := content.read(_BLOCK):
                yield chunk
    except RuntimeError as error:  # of zipfile: a password is needed
        raise staging.refusal(entry.filename, "cannot be read") from error
