"""The worker function for locks: what pins an object, and its sha256 if that is to be had."""

from __future__ import annotations

import hashlib

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.errors import ChangedError, KaiwoError, TransientError
from kaiwo.jobs import PinJob
from kaiwo.objects import Checksum, RemoteObject, same_bytes
from kaiwo.protocols import Source
from kaiwo.workers.questions import answered
from kaiwo.workers.threads import require_open


class Pinned(Struct, frozen=True):
    """An object with all that pins it, or why that is not known."""

    object: RemoteObject | None = None
    error: KaiwoError | None = None


def run(job: PinJob) -> Pinned:
    """Ask the store, and read the object if its sha256 is wanted."""
    return answered(
        job.want.opener, lambda source: _pinned(source, job), lambda error: Pinned(error=error)
    )


def _pinned(source: Source, job: PinJob) -> Pinned:
    remote = job.object
    if remote.checksum_on_request:
        remote = _asked(source, remote, job)
    if job.hashed and (remote.checksum is None or remote.checksum.algorithm != "sha256"):
        remote = _hashed(source, remote, job)
    return Pinned(remote)


def _asked(source: Source, remote: RemoteObject, job: PinJob) -> RemoteObject:
    """The object with its version and its best checksum.

    Raises:
        ChangedError: it is no longer the object that was listed.
    """
    now = source.pin(remote.key)
    # A checksum that a listing made of an etag may be wrong; that is what is being asked.
    listed = replace(remote, checksum=None)
    if same_bytes(now, remote) is False and same_bytes(now, listed) is not True:
        url = job.want.opener.url(remote.key)
        raise ChangedError(f"{url}: it was replaced after it had been listed; lock again")
    version = now.version or remote.version
    return replace(remote, version=version, checksum=now.checksum, checksum_on_request=False)


def _hashed(source: Source, remote: RemoteObject, job: PinJob) -> RemoteObject:
    found, size = hashlib.sha256(usedforsecurity=False), 0
    for piece in source.stream(remote, 0, None if remote.unsized else remote.size):
        require_open()
        found.update(piece)
        size += len(piece)
    if size != remote.size and not remote.unsized:
        url = job.want.opener.url(remote.key)
        raise TransientError(f"reading {url}: got {size} bytes instead of {remote.size}")
    checksum = Checksum("sha256", found.hexdigest())
    return replace(remote, size=size, unsized=False, checksum=checksum, may_be_pointer=False)
