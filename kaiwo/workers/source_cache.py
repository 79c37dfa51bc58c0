"""The sources that this worker process has open: the one module-level state of kaiwo.

A source holds connections, credentials and perhaps an SDK that takes a second to load. So a worker
process opens each source once and keeps it until the run that asked for it closes it. Several
sources are opened at the same time; who needs one that is being opened waits for that one only.

Mounted secrets change during a long run. When a source's credentials are refused and its secret
files have changed since it was opened, it is opened again and the attempt is repeated once. The old
source is kept to the end of the run: other threads may be reading from it at that moment.

A forked child opens its own sources, also where it works for a run of its parent: the parent's
connections are not for it, and the threads that serve them do not exist there. What it inherits is
kept and never used: to close it or to let it go would need those threads.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from msgspec import Struct, field

from kaiwo.errors import CredentialsError, KaiwoError, UnfinishedError
from kaiwo.protocols import Opener, Source
from kaiwo.workers.shared_calls import SharedCalls
from kaiwo.workers.threads import require_open


class _Outcome(Protocol):
    """What an attempt returns: at least its error, or None."""

    @property
    def error(self) -> KaiwoError | None: ...


OutcomeT = TypeVar("OutcomeT", bound=_Outcome)


class _Entry(Struct):
    """An open source, and a digest of its secrets at that time.

    Attributes:
        source: the open source.
        secrets_digest: see ``protocols.Opener``.
        retired: sources that were open before it.
        reopening: held by who opens it again.
    """

    source: Source
    secrets_digest: bytes
    retired: list[Source] = field(default_factory=list)
    reopening: threading.Lock = field(default_factory=threading.Lock)


class _Opening:
    """The sources that are being opened; a forked child gets other ones.

    Attributes:
        inherited: sources of the processes that this one was forked from.
    """

    def __init__(self) -> None:
        self.inherited: list[_Entry] = []
        self.calls = SharedCalls[Opener, _Entry]()

    def renew(self) -> None:
        """A forked child must not wait for a thread of its parent, nor use what is its parent's."""
        self.calls = SharedCalls[Opener, _Entry]()
        self.inherited += _entries.values()
        _entries.clear()


_entries: dict[Opener, _Entry] = {}
_opening = _Opening()
os.register_at_fork(after_in_child=_opening.renew)


def open_source(opener: Opener) -> Source:
    """This worker's source for that opener; errors of opening it pass through.

    Raises:
        UnfinishedError: the run is over; nobody would close it.
    """
    require_open()
    entry = _entries.get(opener)
    if entry is None:
        # Two threads that open the same source would sign in twice.
        call = partial(_opened, opener)
        try:
            entry = _opening.calls.make(opener, call)
        except UnfinishedError:
            require_open()
            entry = _opening.calls.make(opener, call)  # it was opened for a run that is over
    return entry.source


def _opened(opener: Opener) -> _Entry:
    """Open a source, unless another thread has just done so."""
    entry = _entries.get(opener)
    if entry is None:
        # Taken before opening: secrets that change meanwhile count as changed.
        secrets_digest = opener.secrets_digest()
        require_open()
        entry = _entries[opener] = _Entry(opener.open(), secrets_digest)
        _close_if_over(opener)
    return entry


def _close_if_over(opener: Opener) -> None:
    """Close what was opened while the run ended."""
    try:
        require_open()
    except UnfinishedError:
        close_source(opener)
        raise


def with_fresh_secrets(opener: Opener, attempt: Callable[[], OutcomeT]) -> OutcomeT:
    """The outcome of an attempt; of a second one when its credentials were outdated.

    Args:
        opener: of the source that the attempt may use.
        attempt: returns an outcome whose ``error`` says whether credentials were refused.
    """
    used = _cached(opener)
    outcome = attempt()
    if isinstance(outcome.error, CredentialsError) and reopen(opener, used or _cached(opener)):
        return attempt()
    return outcome


def _cached(opener: Opener) -> Source | None:
    """The source that is open for that opener, if any."""
    entry = _entries.get(opener)
    return None if entry is None else entry.source


def reopen(opener: Opener, refused: Source | None) -> bool:
    """Whether another source is open now than the one whose credentials were refused.

    Of several threads that are refused at once, one opens the source again; the others find that
    done.
    """
    entry = _entries.get(opener)
    if entry is None or refused is None:
        return False
    with entry.reopening:
        if entry.source is not refused:
            return True
        secrets_digest = opener.secrets_digest()
        if secrets_digest == entry.secrets_digest:
            return False
        try:
            source = opener.open()
        except KaiwoError:
            return False  # perhaps half-written: the refusal is what is reported
        entry.retired.append(entry.source)
        entry.source, entry.secrets_digest = source, secrets_digest
        if _entries.get(opener) is not entry:  # the run ended meanwhile
            _close(source)
    return True


def close_source(opener: Opener) -> None:
    """Close this worker's sources for that opener, if it has any."""
    entry = _entries.pop(opener, None)
    if entry is None:
        return
    for source in (entry.source, *entry.retired):
        _close(source)


def _close(source: Source) -> None:
    with contextlib.suppress(Exception):  # a connection that is lost needs no closing
        source.close()


def collect_sources() -> None:
    """Let go, in this thread, of what closed sources held.

    s3fs closes a session in the event loop of the thread that collects it: that must not be that of
    somebody else, such as Dask's.
    """
    gc.collect()
