"""A Hub by nginx: one repository of several buckets' files, whose every answer is a file.

/api/models/bench/hub/revision/main, …/tree/COMMIT    prepared JSON
/bench/hub/resolve/COMMIT/FILE                        a small file's bytes; of a large one, the
                                                      way to the other host
the other host: /BUCKET/FILE                          as the bucket is served, rate and all
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.buckets import MIB, Bucket, Shelf

REPOSITORY = "bench/hub"
COMMIT = "c0ffee" * 6 + "cafe"
SNAPSHOT = f"models--bench--hub/snapshots/{COMMIT}"
"""Where the files are in a cache."""

_JSON = """
location = {path} {{
    default_type application/json;
    add_header X-Repo-Commit {commit};
    alias {file};
}}
"""
_SMALL = """
location = {path} {{
    etag off;
    add_header ETag '"{oid}"';
    add_header X-Repo-Commit {commit};
    alias {file};
}}
"""
_LARGE = """
location = {path} {{
    add_header Accept-Ranges bytes;
    add_header X-Repo-Commit {commit};
    add_header X-Linked-Etag '"{oid}"';
    add_header X-Linked-Size {size};
    return 302 {there}?Expires=4000000000&Signature=00;
}}
"""


@dataclass(frozen=True)
class _File:
    """A file of the repository, and what the Hub calls its bytes."""

    bucket: Bucket
    key: str
    path: Path

    @property
    def name(self) -> str:
        return f"{self.bucket.name}/{self.key}"

    @property
    def is_large(self) -> bool:
        """Whether it is in LFS."""
        return self.bucket.size > MIB

    def oid(self) -> str:
        """Of git, or the sha256 of LFS."""
        if self.is_large:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        data = self.path.read_bytes()
        head = f"blob {len(data)}\0".encode()
        return hashlib.sha1(head + data, usedforsecurity=False).hexdigest()


def locations(work: Path, shelf: Shelf, buckets: Sequence[Bucket], elsewhere: str) -> str:
    """What nginx has to know.

    Args:
        work: for the answers.
        shelf: has the files.
        buckets: of the repository; each is a folder of it.
        elsewhere: address of the other host.
    """
    files = [_File(each, key, shelf.path(each, key)) for each in buckets for key in each.names()]
    entries, lines = [], []
    for file in files:
        oid, size = file.oid(), file.bucket.size
        entry = {"type": "file", "path": file.name, "size": size, "oid": oid[:40]}
        if file.is_large:
            entry["lfs"] = {"oid": oid, "size": size, "pointerSize": 135}
        entries.append(entry)
        lines.append(
            (_LARGE if file.is_large else _SMALL).format(
                path=f"/{REPOSITORY}/resolve/{COMMIT}/{file.name}",
                commit=COMMIT,
                oid=oid,
                size=size,
                file=file.path,
                there=f"{elsewhere}/{file.name}",
            )
        )
    about = {
        "_id": "0" * 24,
        "id": REPOSITORY,
        "sha": COMMIT,
        "private": False,
        "gated": False,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": [{"rfilename": file.name} for file in files],
    }
    answers = {"revision/main": about, f"tree/{COMMIT}": entries}
    return "".join([*_written(work, answers), *lines])


def _written(work: Path, answers: Mapping[str, object]) -> Iterator[str]:
    """The answers as files, and where they are."""
    for number, (path, told) in enumerate(answers.items()):
        file = work / f"hub-{number}.json"
        file.write_text(json.dumps(told))
        at = f"/api/models/{REPOSITORY}/{path}"
        yield _JSON.format(path=at, commit=COMMIT, file=file)
