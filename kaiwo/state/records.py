"""A line of the manifest: what a target was when it was published, sealed by a checksum."""

from __future__ import annotations

import json
import zlib

import msgspec

from kaiwo.objects import Checksum, RemoteObject

_SEAL = b', "crc32": '


class Record(msgspec.Struct, frozen=True, gc=False):
    """What a target was when it was published: one line.

    Attributes:
        target: relative to the root.
        origin: of the service.
        source: the object's URL, without secrets.
        size: of the object, as etag, version, modified_ns and variant are.
        etag: see ``RemoteObject``.
        version: see ``RemoteObject``.
        mtime_ns: of the file.
        checksum: what its bytes were verified by; None if only their number was.
        modified_ns: see ``RemoteObject``.
        variant: see ``RemoteObject``.
        checked: the store was asked for a checksum wherever it might state one.
    """

    target: str
    origin: str
    source: str
    size: int
    etag: str | None
    version: str | None
    mtime_ns: int
    checksum: Checksum | None
    modified_ns: int | None = None
    variant: str | None = None
    checked: bool = False

    @property
    def object(self) -> RemoteObject:
        """What was known of the object, without its key."""
        return RemoteObject(
            "",
            self.size,
            self.etag,
            self.version,
            self.checksum,
            modified_ns=self.modified_ns,
            variant=self.variant,
        )


def line_of(record: Record) -> bytes:
    """The line of a record."""
    try:
        text = msgspec.json.encode(record)
    except UnicodeEncodeError:  # half a character: a name that is no UTF-8
        text = json.dumps(msgspec.to_builtins(record)).encode("ascii")
    return sealed(text)


def parsed(line: bytes, decoder: msgspec.json.Decoder[Record]) -> Record | None:
    """What a line says; None if it is torn, damaged or unknown."""
    text = unsealed(line)
    if text is None:
        return None
    try:
        return decoder.decode(text)
    except (msgspec.ValidationError, RecursionError):
        return None
    except msgspec.DecodeError:  # perhaps half a character, which Python's decoder accepts
        try:
            return msgspec.convert(json.loads(text), Record)
        except (msgspec.ValidationError, ValueError, RecursionError):
            return None


def sealed(text: bytes) -> bytes:
    """A line of that JSON object, with a checksum that shows whether the line is whole."""
    body = text[:-1]
    return body + _SEAL + _crc(body) + b"\n"


def unsealed(line: bytes) -> bytes | None:
    """The JSON object of a line; None if the line is not whole."""
    body, _, crc = line.rstrip(b"\n").rpartition(_SEAL)
    return body + b"}" if crc == _crc(body) else None


def _crc(body: bytes) -> bytes:
    return b'"%08x"}' % zlib.crc32(body)
