"""One line in a notebook's output, with a bar, that is replaced and leaves its last text behind.

It is a display of IPython, which has an identity: front ends and nbconvert replace what it showed.
What is written to stderr would stay, in red, each time. Failures and retries are counts in the
line; the error or the report names them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from kaiwo.events import Ended, Event, Planned
from kaiwo.reporting.counters import Counters
from kaiwo.reporting.progress_text import end_line, narrowing

_WIDTH = 20
#: The line is replaced at most this often: a stored notebook keeps none of that, a browser gets it.
_EVERY_S = 0.3


def is_notebook() -> bool:
    """Whether the program runs in a kernel of IPython, whose output is not a terminal."""
    found = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return found is not None and hasattr(found(), "kernel")


class NotebookSink:
    """See the module's docstring.

    Args:
        show: shows a text in place of the one before.
    """

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self._show = show or _Display().show
        self._counters = Counters()
        self._next_s = 0.0

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        counters = self._counters
        counters.add(event)
        if isinstance(event, Ended):
            text = end_line(counters, event.report)
        elif counters.clock() >= self._next_s or isinstance(event, Planned):
            self._next_s = counters.clock() + _EVERY_S
            text = _line(counters) if counters.files else "listing"
        else:
            return
        # A front end that is gone is no reason to stop downloading.
        with contextlib.suppress(Exception):
            self._show(text)


def _line(counters: Counters) -> str:
    """The bar, and the longest line beside it."""
    done = min(max(counters.bytes_done, 0) / max(counters.bytes, 1), 1.0)
    full = int(done * _WIDTH)
    return f"{'█' * full}{'░' * (_WIDTH - full)} {narrowing(counters)[0]}"


class _Display:
    """A display of IPython, made when it first shows something."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        from IPython.display import display  # noqa: PLC0415 - only where it is at work already

        data = {"text/plain": text}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(data, raw=True)
