"""What is stored: buckets, objects with their generations, bytes in memory or in files."""

import base64
import bisect
import hashlib
import io
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import awscrt.checksums

IN_MEMORY = 1 << 20


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def varint(number: int) -> bytes:
    """As in protocol buffers, which etags are made of."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups[-1] |= 0x80
        groups.append(number & 0x7F)
    return bytes(groups)


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, in memory or in a file."""

    kept: bytes | Path
    size: int
    md5: bytes
    crc32c: bytes

    def open(self) -> IO[bytes]:
        return self.kept.open("rb") if isinstance(self.kept, Path) else io.BytesIO(self.kept)


class Incoming:
    """Bytes that arrive; large contents go to a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sink: IO[bytes] = io.BytesIO()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0
        self.size = 0

    def write(self, piece: bytes) -> None:
        self.size += len(piece)
        self._md5.update(piece)
        self._crc32c = awscrt.checksums.crc32c(piece, self._crc32c)
        if self.size > IN_MEMORY and isinstance(self._sink, io.BytesIO):
            begun = self._sink.getvalue()
            self._sink = (self._folder / secrets.token_hex(16)).open("wb")
            self._sink.write(begun)
        self._sink.write(piece)

    def content(self) -> Content:
        sink = self._sink
        kept = sink.getvalue() if isinstance(sink, io.BytesIO) else Path(sink.name)
        sink.close()
        return Content(kept, self.size, self._md5.digest(), self._crc32c.to_bytes(4, "big"))


@dataclass(frozen=True, slots=True)
class Stored:
    """One generation of an object."""

    bucket: str
    name: str
    generation: int
    content: Content
    type: str
    encoding: str
    components: int
    """Of a composite object; 0 for one that was uploaded."""

    @property
    def etag(self) -> str:
        """Of the JSON interface: generation and metageneration."""
        return base64_of(b"\x08" + varint(self.generation) + b"\x10" + varint(1))

    @property
    def xml_etag(self) -> str:
        return f'"-{self.etag}"' if self.components else f'"{self.content.md5.hex()}"'

    @property
    def hashes(self) -> dict[str, str]:
        told = {"crc32c": base64_of(self.content.crc32c)}
        return told if self.components else told | {"md5": base64_of(self.content.md5)}

    @property
    def updated(self) -> datetime:
        return datetime.fromtimestamp(self.generation / 1e6, UTC)

    @property
    def date(self) -> str:
        return self.updated.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def resource(self, host: str) -> dict[str, Any]:
        """What the JSON interface tells."""
        at = f"storage/v1/b/{quote(self.bucket, safe='')}/o/{quote(self.name, safe='')}"
        told: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"http://{host}/{at}",
            "mediaLink": f"http://{host}/download/{at}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": self.type,
            "storageClass": "STANDARD",
            "size": str(self.content.size),
            "crc32c": self.hashes["crc32c"],
            "etag": self.etag,
            "timeCreated": self.date,
            "updated": self.date,
        }
        if self.components:
            told["componentCount"] = self.components
        else:
            told["md5Hash"] = self.hashes["md5"]
        if self.encoding:
            told["contentEncoding"] = self.encoding
        return told

    def entry(self) -> str:
        """What a listing of the XML interface tells."""
        return (
            f"<Contents><Key>{escape(self.name)}</Key><Generation>{self.generation}</Generation>"
            f"<MetaGeneration>1</MetaGeneration><LastModified>{self.date}</LastModified>"
            f"<ETag>{escape(self.xml_etag)}</ETag><Size>{self.content.size}</Size></Contents>"
        )


@dataclass(slots=True)
class Bucket:
    name: str
    versioning: bool
    live: dict[str, Stored] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    """Of `live`, in order."""
    noncurrent: dict[tuple[str, int], Stored] = field(default_factory=dict)

    def put(self, stored: Stored) -> None:
        self.remove(stored.name)
        bisect.insort(self.names, stored.name)
        self.live[stored.name] = stored

    def remove(self, name: str) -> None:
        if old := self.live.pop(name, None):
            del self.names[bisect.bisect_left(self.names, name)]
            if self.versioning:
                self.noncurrent[name, old.generation] = old

    def page(
        self, prefix: str, delimiter: str, after: str, limit: int, start: str = ""
    ) -> tuple[list[Stored], list[str], str]:
        """Objects and common prefixes that follow `after`, from `start` on, and the last of them.

        The last one is empty if no more follow.
        """
        objects: list[Stored] = []
        folders: list[str] = []
        last = after
        for at in range(bisect.bisect_left(self.names, max(prefix, after, start)), len(self.names)):
            name = self.names[at]
            if not name.startswith(prefix):
                break
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            entry = name if cut < 0 else name[: cut + len(delimiter)]
            if entry <= last:
                continue
            if len(objects) + len(folders) == limit:
                return objects, folders, last
            if cut < 0:
                objects.append(self.live[name])
            else:
                folders.append(entry)
            last = entry
        return objects, folders, ""
