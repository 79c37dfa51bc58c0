"""What the Hub calls a file's bytes: its id is their checksum, and the name of the cache's blob."""

from __future__ import annotations

from kaiwo.objects import Checksum, RemoteObject

#: By the length of the id: git's own of a blob, or that of LFS.
_ALGORITHMS = {40: "git-sha1", 64: "sha256"}


def file_of(
    key: str, size: int, oid: str | None, commit: str | None, xet_hash: str | None = None
) -> RemoteObject:
    """A file of a repository.

    Args:
        key: its name.
        size: in bytes.
        oid: its id; a mirror may have another kind, which is no checksum.
        commit: that it belongs to.
        xet_hash: what it is streamed by, where it cannot or shall not be read in ranges.
    """
    algorithm = _ALGORITHMS.get(len(oid or ""))
    checksum = Checksum(algorithm, oid) if algorithm and oid else None
    return RemoteObject(key, size, oid, commit, checksum, stream_id=xet_hash)
