"""Archives as nobody should make them, and as everybody does."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: What a tar archive has: a name and its content, or a header with content.
Entry = tuple[str, bytes] | tuple[tarfile.TarInfo, bytes]
_MARK = 2 * tarfile.BLOCKSIZE


def header(name: str, **attributes: Any) -> tarfile.TarInfo:
    """A header with these attributes."""
    made = tarfile.TarInfo(name)
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    return made


def tar(*entries: Entry, format_: int = tarfile.PAX_FORMAT, mode: str = "w:gz") -> bytes:
    """A tar archive, by default compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format_) as archive:  # type: ignore[call-overload]
        for entry, content in entries:
            info = header(entry) if isinstance(entry, str) else entry
            if info.isreg() and not info.size:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A compressed tar archive of files."""
    return tar(*files.items())


def blocks(*parts: bytes) -> bytes:
    """A compressed tar archive of raw blocks, with its end marker."""
    padded = b"".join(part + bytes(-len(part) % tarfile.BLOCKSIZE) for part in parts)
    return gzip.compress(padded + bytes(_MARK))


def block(name: str, size: int = 0, **attributes: Any) -> bytes:
    """The header of an entry as a block, without the extras that tarfile adds."""
    info = header(name, size=size, **attributes)
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")


def zip_of(
    *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_header(name: str, mode: int = 0) -> zipfile.ZipInfo:
    """The header of an entry with a mode of Unix, and a name that zipfile does not change."""
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = mode << 16
    return info


def changed(archive: bytes, change: Callable[[bytearray, int, int], None]) -> bytes:
    """A zip archive of one entry, with its local header and its line of the directory changed."""
    data = bytearray(archive)
    change(data, data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02"))
    return bytes(data)


def with_size(archive: bytes, size: int) -> bytes:
    """The only entry states another size than it has."""

    def change(data: bytearray, local: int, line: int) -> None:
        struct.pack_into("<I", data, local + 22, size)
        struct.pack_into("<I", data, line + 24, size)

    return changed(archive, change)


def with_offset(offset: int) -> bytes:
    """A zip archive whose only entry is said to begin there, as zip64 can say it."""
    with_extra = zip_header("a")
    with_extra.extra = struct.pack("<HHQ", 1, 8, offset)

    def change(data: bytearray, local: int, line: int) -> None:
        struct.pack_into("<I", data, line + 42, 2**32 - 1)

    return changed(zip_of((with_extra, b"1234")), change)


def with_flag(archive: bytes, flag: int) -> bytes:
    """The only entry has this flag."""

    def change(data: bytearray, local: int, line: int) -> None:
        data[local + 6] |= flag
        data[line + 8] |= flag

    return changed(archive, change)


def many_lines(number: int) -> bytes:
    """A zip archive whose directory has so many lines, all for one entry."""
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    line = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0
    )
    lines = b"".join(line + b"%06x" % each for each in range(number))
    start = len(local)
    end64 = struct.pack(
        "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, number, number, len(lines), start
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start + len(lines), 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return local + lines + end64 + locator + end


def overlapping() -> bytes:
    """A zip archive whose two entries are the same bytes."""
    archive = zip_of(("a", bytes(1000)), ("b", bytes(1000)))
    data = bytearray(archive)
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    struct.pack_into("<I", data, second + 42, 0)
    return bytes(data)


def bomb_of_blocks(size: int) -> bytes:
    """A compressed tar archive of one file of zeros, made without having them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [compressor.compress(block("zeros", size))]
    chunk = bytes(1 << 20)
    parts += (compressor.compress(chunk) for _ in range(size >> 20))
    parts += [compressor.compress(bytes(_MARK)), compressor.flush()]
    return b"".join(parts)


def many_entries(number: int) -> bytes:
    """A compressed tar archive of so many empty files."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    template = block("0" * 8)
    return b"".join(
        [
            *(compressor.compress(each) for each in _numbered(template, number)),
            compressor.compress(bytes(_MARK)),
            compressor.flush(),
        ]
    )


def _numbered(template: bytes, number: int) -> Iterable[bytes]:
    """Headers that differ in their names alone; the sum of the bytes is in the header, too."""
    usual = sum(template[:148]) + 8 * ord(" ") + sum(template[156:])
    for each in range(number):
        name = b"%08x" % each
        total = usual - 8 * ord("0") + sum(name)
        yield name + template[8:148] + b"%06o\0 " % total + template[156:]
