"""What the Hub's API and the headers of its files state of a file: a digest counts by its kind.

    API       ``lfs.oid`` is the sha256; without ``lfs``, ``oid`` is git's id of the blob
    headers   ``X-Linked-Etag`` of 64 digits is the sha256 of an LFS file; ``X-Checksum-*`` (of
              proxies) name their kind; ``ETag`` is git's id at the Hub itself, and of an unknown
              kind elsewhere: one proxy states the sha1 of the file

The id names the blob in the cache, of any kind. A commit counts by its kind, too: some mirrors
state the name of the branch in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.sources.answers import check_identity, plain_etag, stated_size

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: By the length of the Hub's own id.
_ALGORITHMS = {40: "git-sha1", 64: "sha256"}
#: Headers of proxies that keep copies of the Hub's files.
_OF_PROXIES = {"sha256": "x-checksum-sha256", "sha1": "x-checksum-sha1", "md5": "x-checksum-md5"}


def require_name(stated: object) -> str:
    """The commit of a revision, as the API states it.

    Raises:
        ValueError: it states none.
    """
    if not isinstance(stated, str) or not stated:
        raise ValueError("no commit")
    return stated


def check_commit(stated: str | None, planned: str | None, named: str) -> None:
    """Refuse an answer of another commit.

    Raises:
        ChangedError: a mirror has something else there.
    """
    if all(_COMMIT.fullmatch(each or "") for each in (stated, planned)):
        check_identity(stated, planned, named)


def of_id(oid: str | None) -> Checksum | None:
    """The checksum that an id is, where it is the Hub's own."""
    algorithm = _ALGORITHMS.get(len(oid or ""))
    return checksums.stated(algorithm, oid) if algorithm else None


def of_blob(key: str, size: int, oid: str | None, commit: str) -> RemoteObject:
    """A file as the Hub's cache has it: its blob is named by the id."""
    return RemoteObject(key, size, oid, commit, of_id(oid))


def of_entry(entry: Mapping[str, Any], commit: str | None) -> tuple[RemoteObject, str | None]:
    """A file as an entry of the API states it, and its hash in Xet.

    Raises:
        KeyError: the entry lacks something.
        ValueError: its size is no number.
    """
    lfs = entry.get("lfs")
    stated = lfs or entry
    oid = str(stated["oid"]).removeprefix("sha256:")
    size = stated_size(stated.get("size", entry["size"]))
    remote = RemoteObject(entry["path"], size, oid, commit, of_id(oid))
    return remote, entry.get("xetHash")


def maybe_pointer(remote: RemoteObject, entry: Mapping[str, Any]) -> RemoteObject:
    """A file whose entry does not say that it is in LFS, as some mirrors do of all files."""
    return replace(remote, may_be_pointer=not entry.get("lfs"))


def of_headers(
    key: str, headers: Mapping[str, str], size: int, commit: str, *, of_hub: bool
) -> RemoteObject | None:
    """A file as the headers of its resolve address state it; None if they state no id.

    Args:
        key: its name.
        headers: their names are in lower case.
        size: in bytes.
        commit: that it belongs to.
        of_hub: the Hub itself states them.
    """
    linked, etag = plain_etag(headers.get("x-linked-etag")), plain_etag(headers.get("etag"))
    oid = linked or etag
    if oid is None:
        return None
    checksum = of_id(oid)
    if not of_hub and (linked is None or len(linked) != 64):  # noqa: PLR2004 - a sha256
        checksum = checksums.best(
            {name: headers[header] for name, header in _OF_PROXIES.items() if header in headers}
        )
    return RemoteObject(key, size, oid, commit, checksum)
