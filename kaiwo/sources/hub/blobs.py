"""The Hub's id of a file's bytes: it is a checksum, and the name of the blob in the cache."""

from __future__ import annotations

from kaiwo import checksums
from kaiwo.objects import RemoteObject

#: By the length of the id: git's id of a blob, or the one of LFS.
_ALGORITHMS = {40: "git-sha1", 64: "sha256"}


def describe_file(
    key: str, size: int, oid: str | None, commit: str | None, xet_hash: str | None = None
) -> RemoteObject:
    """A file of a repository.

    Args:
        key: its name.
        size: in bytes.
        oid: its id; the ids of some mirrors are no checksums.
        commit: that it belongs to.
        xet_hash: its hash in Xet, if it is to be streamed by Xet.
    """
    algorithm = _ALGORITHMS.get(len(oid or ""))
    checksum = checksums.stated(algorithm, oid) if algorithm else None
    return RemoteObject(key, size, oid, commit, checksum, stream_id=xet_hash)
