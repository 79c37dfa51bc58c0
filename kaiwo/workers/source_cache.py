"""The sources that this worker has opened: the one module-level state of kaiwo.

A source holds connections, credentials and perhaps an SDK that takes a second to load, so a
worker process opens each once and keeps it until the run that asked for it lets it go.

Mounted secrets change during a long run. A worker whose source is refused asks for another
(``renew``), which it gets if the secret files hold something else than when the source was opened.
The old one is kept to the end of the run: other threads may be reading from it at that moment.
"""

from __future__ import annotations

import contextlib
import threading

from msgspec import Struct, field

from kaiwo import redact
from kaiwo.errors import KaiwoError
from kaiwo.protocols import Opener, Source


class _Opened(Struct):
    """What is open for an opener, and what its secrets were at that time."""

    source: Source
    stamp: bytes
    retired: list[Source] = field(default_factory=list)


_opened: dict[Opener, _Opened] = {}
_opening = threading.Lock()


def source_of(opener: Opener) -> Source:
    """This worker's source for that opener; whatever opening it raises passes through."""
    found = _opened.get(opener)
    if found is None:
        # Two threads that open the same source would sign in twice.
        with _opening:
            found = _opened.get(opener)
            if found is None:
                # Stamped before: secrets that change meanwhile are seen to have changed.
                stamp = opener.stamp()
                redact.clean_log_records()
                found = _opened[opener] = _Opened(opener.open(), stamp)
    return found.source


def current(opener: Opener) -> Source | None:
    """What ``source_of`` would give without opening anything."""
    found = _opened.get(opener)
    return None if found is None else found.source


def renew(opener: Opener, refused: Source | None) -> bool:
    """Whether there is another source now than the one whose credentials were refused.

    The source is opened anew if its secret files have changed since it was opened; of several
    threads that are refused at once, one does so, and the others find it done.

    Args:
        opener: of the source.
        refused: what was open before the request; None if nothing was, so that its secrets were
            read for it.
    """
    with _opening:
        found = _opened.get(opener)
        if found is None or refused is None:
            return False
        if found.source is not refused:
            return True
        stamp = opener.stamp()
        if stamp == found.stamp:
            return False
        try:
            source = opener.open()
        except KaiwoError:
            return False  # half-written, perhaps: the refusal is what is told
        found.retired.append(found.source)
        found.source, found.stamp = source, stamp
    return True


def forget(opener: Opener) -> None:
    """Close this worker's sources for that opener, if it has any."""
    found = _opened.pop(opener, None)
    if found is None:
        return
    for source in (found.source, *found.retired):
        with contextlib.suppress(Exception):  # connections that are gone need no closing
            source.close()
