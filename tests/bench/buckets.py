"""What is served: files that look random, and the pages of the listings that name them.

Everything is made before the first run, so that the server only sends files and never computes.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

MIB = 1 << 20
MTIME = 1_700_000_000
"""Of every file; nginx makes the ETag of it and the size."""

_FOLDERS = 10
_PAGE = 1_000
_MODIFIED = "2023-11-14T22:13:20.000Z"  # MTIME


@dataclass(frozen=True)
class Bucket:
    """Objects of one size, and how they are served.

    Attributes:
        name: of the bucket.
        count: how many objects; more than one are spread over folders.
        size: of each, in bytes.
        files: whether there are objects behind the listing.
        md5: whether the ETag is the md5 of the bytes, as for an ordinary upload to S3.
        late_ms: how long each response waits before it starts.
        rate: bytes per second for each connection; 0 is no limit.
        at_once: how many answers a client may have under way, others are 503; 0 is no limit.
        tls: whether it is reached over TLS.
        in_hub: whether it is a folder of a repository of the Hub's, not a bucket of S3.
    """

    name: str
    count: int
    size: int
    files: bool = True
    md5: bool = False
    late_ms: int = 0
    rate: int = 0
    at_once: int = 0
    tls: bool = False
    in_hub: bool = False

    @property
    def needs_nginx(self) -> bool:
        """Whether only nginx serves it as described."""
        limited = self.late_ms or self.rate or self.at_once
        return bool(self.md5 or limited or self.tls or self.in_hub or not self.files)

    @property
    def needs_lua(self) -> bool:
        """Whether nginx needs its Lua module for it."""
        return bool(self.md5 or self.late_ms)

    def names(self) -> list[str]:
        """Of all objects, in the order of a listing."""
        if self.count == 1:
            return ["object.bin"]
        return [f"part-{n * _FOLDERS // self.count}/{n:06d}.bin" for n in range(self.count)]


@dataclass
class Shelf:
    """The folder with all buckets' files.

    Attributes:
        root: holds a folder for each bucket.
        made: which folder has the files of a shape (count and size); the next bucket of that shape
            gets links to them.
    """

    root: Path
    made: dict[tuple[int, int], str] = field(default_factory=dict)

    def path(self, bucket: Bucket, key: str) -> Path:
        """Of an object's file."""
        return self.root / bucket.name / key

    def fill(self, bucket: Bucket) -> None:
        """Write the files of a bucket."""
        twin = self.made.setdefault((bucket.count, bucket.size), bucket.name)
        for number, key in enumerate(bucket.names()):
            path = self.path(bucket, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            if twin != bucket.name:
                os.link(self.root / twin / key, path)
                continue
            with path.open("wb") as file:
                for piece in content(number, bucket.size):
                    file.write(piece)
            os.utime(path, (MTIME, MTIME))

    def etag(self, bucket: Bucket, key: str) -> str:
        """As it is served, without quotes."""
        if not bucket.md5:
            return f"{MTIME:x}-{bucket.size:x}"
        with self.path(bucket, key).open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()


_BODY = random.Random(1).randbytes(MIB - 16)


def content(number: int, size: int) -> Iterator[bytes]:
    """The bytes of an object: each MiB of each object is another."""
    for start in range(0, size, MIB):
        head = number.to_bytes(8) + start.to_bytes(8)
        yield (head + _BODY)[: size - start]


@dataclass(frozen=True)
class Listing:
    """The answer to one kind of request: its pages, each a whole body, and how it ends.

    The end is what follows the last key but one, which is all that a tool asks for by its key.
    """

    prefix: str
    delimiter: str
    pages: list[bytes]
    end: bytes


def listings(bucket: Bucket, etags: Sequence[str]) -> Iterator[Listing]:
    """The answers to every prefix and delimiter that a tool asks for.

    Args:
        bucket: what is listed.
        etags: of its keys, in their order.
    """
    keys = bucket.names()
    entries = [
        (
            key,
            (
                f"<Contents><Key>{key}</Key><LastModified>{_MODIFIED}</LastModified>"
                f"<ETag>&quot;{etag}&quot;</ETag><Size>{bucket.size}</Size>"
                f"<StorageClass>STANDARD</StorageClass></Contents>"
            ),
        )
        for key, etag in zip(keys, etags, strict=True)
    ]
    folders = sorted({key.rpartition("/")[0] + "/" for key in keys if "/" in key})
    top = [f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders]
    everything = [entry for _, entry in entries]
    yield _listing(bucket, "", "", everything)
    yield _listing(bucket, "", "/", top or everything)
    for folder, shown in zip(folders, top, strict=True):
        inside = [entry for key, entry in entries if key.startswith(folder)]
        yield _listing(bucket, folder, "", inside)
        yield _listing(bucket, folder, "/", inside)
        yield _listing(bucket, folder[:-1], "", inside)
        yield _listing(bucket, folder[:-1], "/", [shown])
    if bucket.count == 1:
        for delimiter in ("", "/"):
            yield _listing(bucket, keys[0], delimiter, everything)
            yield _listing(bucket, keys[0] + "/", delimiter, [])


def _listing(bucket: Bucket, prefix: str, delimiter: str, entries: list[str]) -> Listing:
    """Cut into pages; a page's token is its number."""
    starts = [*range(0, max(len(entries), 1), _PAGE), len(entries)]
    pages = []
    for number, (start, end) in enumerate(pairwise(starts), start=1):
        more = number < len(starts) - 1
        token = f"<NextContinuationToken>{number}</NextContinuationToken>" if more else ""
        pages.append(_page(bucket, prefix, delimiter, entries[start:end], token))
    return Listing(prefix, delimiter, pages, _page(bucket, prefix, delimiter, entries[-1:], ""))


def _page(bucket: Bucket, prefix: str, delimiter: str, entries: list[str], token: str) -> bytes:
    """The body of one page; the last one has no token."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket.name}</Name><Prefix>{prefix}</Prefix><KeyCount>{len(entries)}</KeyCount>"
        f"<MaxKeys>{_PAGE}</MaxKeys><Delimiter>{delimiter}</Delimiter>"
        f"<IsTruncated>{str(bool(token)).lower()}</IsTruncated>{token}{''.join(entries)}"
        "</ListBucketResult>"
    ).encode()
