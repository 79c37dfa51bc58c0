"""The entries of a tar archive, plain or compressed, read once from beginning to end.

The headers are tarfile's to read, but not to believe. It reads a header's whole text into memory,
follows one header after another, and takes what is no header for the end. So:

- A header's text has at most ``_MOST_TEXT`` bytes, and few attributes are for all entries. Sparse
  files and negative sizes are refused.
- An archive ends with its end marker; after it, the compressed bytes are read to their checksum.
- What comes out of the compression has a bound beside that of the files: headers are bytes, too.
- Each entry passes tarfile's ``data`` filter beside kaiwo's own rules (``staging.py``).
"""

from __future__ import annotations

import bz2
import gzip
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol, Self, cast

from kaiwo.files.disk_errors import disk_error
from kaiwo.initializer.staging import MOST_ENTRIES, Staging

_BLOCK = 1 << 20
#: Bytes of a long name, or of the attributes of an entry.
_MOST_TEXT = 64 << 10
#: Attributes for all entries that follow; tarfile keeps each, and copies all for each entry.
_MOST_GLOBAL = 100
#: Bytes of headers, on average for each entry that is allowed.
_OF_HEADERS = 4 << 10
_TEXTS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_OWNER_MAY_RUN = 0o100
#: The filter looks for links in the folder that it is given, and the staging folder has none.
_ANY_FOLDER = "/nonexistent"


class _Readable(Protocol):
    """What gives bytes."""

    def read(self, size: int, /) -> bytes:
        """At most that many bytes; none at the end."""
        ...


#: Ends of the names of archives; which compression one has, its first bytes say.
ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"


class _Entry(tarfile.TarInfo):
    """An entry whose header cannot fill the memory, and cannot end the archive early."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """See tarfile, which takes what is no header for the end of the archive."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            kind = type(error).__name__  # tarfile does not offer the classes
            if kind == "EOFHeaderError":
                raise
            is_early = kind == "EmptyHeaderError"
            fault = "it ends before its end marker" if is_early else str(error)
            raise tarfile.ReadError(fault) from None

    def _proc_member(self, archive: tarfile.TarFile) -> Self:
        if self.size < 0:
            raise tarfile.ReadError("an entry has a negative size")
        if self.type in _TEXTS and self.size > _MOST_TEXT:
            raise tarfile.ReadError("a header is longer than any name")
        if self.type == tarfile.XGLTYPE and len(archive.pax_headers) > _MOST_GLOBAL:
            raise tarfile.ReadError("it has more attributes for all entries than any model")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("it has a sparse file")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]

    def _refuse_sparse(self, *_: object) -> None:
        raise tarfile.ReadError("it has a sparse file")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


class _Bounded:
    """Bytes of an archive, as they come out of its compression."""

    def __init__(self, stream: _Readable, most: int, staging: Staging) -> None:
        self._stream, self._left, self._staging = stream, most, staging

    def read(self, size: int) -> bytes:
        """See ``_Readable``."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise self._staging.damage("its headers are larger than those of any model")
        return data


def unpack(file: BinaryIO, staging: Staging) -> None:
    """Write all entries.

    Args:
        file: the archive.
        staging: gets the entries.

    Raises:
        KaiwoError: the archive or one of its entries is refused, or cannot be written.
    """
    most = staging.most_bytes + MOST_ENTRIES * _OF_HEADERS
    stream = _Bounded(_opened(file), most, staging)
    try:
        with tarfile.open(
            fileobj=cast("BinaryIO", stream),
            mode="r|",
            bufsize=_BLOCK,
            tarinfo=_Entry,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive:
            while (entry := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else it keeps all of them
                _add(archive, entry, staging)
        while stream.read(_BLOCK):
            pass
    except tarfile.TarError as error:
        raise staging.damage(str(error)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise staging.damage(str(error) or "it ends too early") from error
    except OSError as error:
        if error.errno is not None:
            raise disk_error(error, file.name) from error
        raise staging.damage(str(error)) from error  # of bz2, which has no class for it
    except RecursionError as error:
        raise staging.damage("its headers follow each other without an entry") from error


def _opened(file: BinaryIO) -> _Readable:
    """The bytes of an archive without its compression.

    Names often say another one than it has, because other programs do not look at them.
    """
    first = file.read(len(_BZIP2))
    file.seek(0)
    if first.startswith(_GZIP):
        return cast("_Readable", gzip.GzipFile(fileobj=file, mode="rb"))
    return bz2.BZ2File(file) if first == _BZIP2 else file


def _add(archive: tarfile.TarFile, entry: tarfile.TarInfo, staging: Staging) -> None:
    if entry.isdir():
        staging.add_folder(entry.name)
        return
    if entry.issym() or entry.islnk():
        raise staging.refusal(entry.name, "is a link: links of archives are not followed or made")
    if entry.type not in _FILES:
        raise staging.refusal(entry.name, "is neither a file nor a folder, but a device or a pipe")
    if entry.size < 0:
        raise staging.damage("an entry has a negative size")
    staging.add_file(
        entry.name,
        entry.size,
        _chunks(archive, entry, staging),
        is_program=bool(entry.mode & _OWNER_MAY_RUN),
    )


def _chunks(archive: tarfile.TarFile, entry: tarfile.TarInfo, staging: Staging) -> Iterator[bytes]:
    content = archive.extractfile(_filtered(entry, staging))
    while content is not None and (chunk := content.read(_BLOCK)):
        yield chunk


def _filtered(entry: tarfile.TarInfo, staging: Staging) -> tarfile.TarInfo:
    """The entry, which tarfile's filter lets pass, too."""
    if not hasattr(tarfile, "data_filter"):
        return entry  # Python before 3.11.4
    try:
        tarfile.data_filter(entry, _ANY_FOLDER)
    except tarfile.FilterError as error:
        raise staging.refusal(entry.name, f"is refused: {type(error).__name__}") from error
    return entry
