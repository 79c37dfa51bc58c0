"""The sources that this worker has opened: the one module-level state of kaiwo.

A source holds connections, credentials and perhaps an SDK that takes a second to load, so a
worker process opens each once and keeps it until the run that asked for it lets it go.
"""

from __future__ import annotations

import contextlib
import threading

from kaiwo.protocols import Opener, Source

_opened: dict[Opener, Source] = {}
_opening = threading.Lock()


def source_of(opener: Opener) -> Source:
    """This worker's source for that opener; whatever opening it raises passes through."""
    source = _opened.get(opener)
    if source is None:
        # Two threads that open the same source would sign in twice.
        with _opening:
            source = _opened.get(opener)
            if source is None:
                source = _opened[opener] = opener.open()
    return source


def forget(opener: Opener) -> None:
    """Close this worker's source for that opener, if it has one."""
    source = _opened.pop(opener, None)
    if source is not None:
        with contextlib.suppress(Exception):  # connections that are gone need no closing
            source.close()
