"""The worker function for signatures: reads the bundle that holds one."""

from __future__ import annotations

from msgspec import Struct

from kaiwo import units
from kaiwo.errors import KaiwoError, NotFoundError, SignatureError, TransientError
from kaiwo.jobs import BundleJob
from kaiwo.protocols import Source
from kaiwo.workers.questions import answered
from kaiwo.workers.threads import require_open

#: A larger bundle is refused; 100,000 files take as much.
LARGEST = 16 << 20


class Read(Struct, frozen=True):
    """The bytes of a bundle, or why they are not to be had."""

    data: bytes = b""
    error: KaiwoError | None = None


def run(job: BundleJob) -> Read:
    """Read a bundle."""
    return answered(job.opener, lambda source: _read(source, job), lambda error: Read(error=error))


def _read(source: Source, job: BundleJob) -> Read:
    try:
        return Read(_bytes(source, job))
    except NotFoundError as error:
        text = f"there is no signature: {error.message}"
        return Read(error=type(error)(text, *error.args[1:]))


def _bytes(source: Source, job: BundleJob) -> bytes:
    """All of it.

    Raises:
        SignatureError: it is too large.
        TransientError: it was cut.
    """
    url, found = job.opener.url(job.key), bytearray()
    remote = source.stat(job.key) if job.object is None else job.object
    # An empty object needs no request; one that states a length is no larger than that.
    if remote.size <= LARGEST and (remote.size or remote.unsized):
        for piece in source.stream(remote):  # without a range, which some servers ignore
            require_open()
            found += piece
            if len(found) > LARGEST:
                break
    if max(len(found), remote.size) > LARGEST:
        text = f"{url}: it is larger than {units.size(LARGEST)}, so it is no signature"
        raise SignatureError(text)
    if len(found) != remote.size and not remote.unsized:
        raise TransientError(f"reading {url}: got {len(found)} bytes instead of {remote.size}")
    return bytes(found)
