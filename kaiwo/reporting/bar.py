"""One bar for a whole run, on a terminal; failures and retries are log lines above it.

The line beside it has the numbers of every other display, and says less on a narrow terminal; the
bar itself takes the room that is left.
"""

from __future__ import annotations

import atexit

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kaiwo.events import Ended, Event, Planned, Ticked
from kaiwo.reporting.counters import Counters
from kaiwo.reporting.log_lines import EventLog
from kaiwo.reporting.progress_text import end_narrowing, narrowing

#: The bar is left out where it would be shorter, and is never longer.
_SHORTEST, _LONGEST = 10, 40
#: The line is worked out at most this often.
_EVERY_S = 0.1


class BarSink:
    """See the module's docstring.

    It hides the cursor. So the first event begins it, not the constructor: what fails before a run
    has nothing to end. ``Ended`` ends it, or the end of the program; the next run has another bar.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._has_left = False

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if self._live is None:
            if self._has_left:
                return
            self._begin()
        try:
            self._show(event)
        finally:
            if isinstance(event, Ended):
                self._end()

    def _begin(self) -> None:
        self._counters = Counters()
        self._log = EventLog()
        self._next_s = 0.0
        self._shown = Shown(["listing"], None)
        self._live = Live(console=self._console, get_renderable=lambda: self._shown)
        atexit.register(self._leave)
        self._live.start()

    def _end(self) -> None:
        """Stop drawing, and show the cursor again."""
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        if not self._console.is_terminal:  # rich ends the line on a terminal only
            self._console.line()
        atexit.unregister(self._leave)

    def _leave(self) -> None:
        """The program ends; a daemon thread may still be at work."""
        self._has_left = True
        self._end()

    def _show(self, event: Event) -> None:
        counters = self._counters
        counters.add(event)
        self._log.add(event)
        if isinstance(event, Ended):
            self._shown = Shown(end_narrowing(counters, event.report), None)
            return
        now_s = counters.clock()
        is_due = now_s >= self._next_s or isinstance(event, Planned | Ticked)
        if counters.files and is_due:
            self._next_s = now_s + _EVERY_S
            part = min(max(counters.bytes_done / max(counters.bytes, 1), 0.0), 1.0)
            self._shown = Shown(narrowing(counters), part)


class Shown:
    """What is drawn: the longest line that has room, and a bar in the rest of it.

    Args:
        lines: from the longest to the shortest.
        part: of the bar that is full, from 0 to 1; None for no bar.
    """

    def __init__(self, lines: list[str], part: float | None) -> None:
        self._lines = lines
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich's console protocol."""
        # The last column stays free: some terminals wrap a line that fills it.
        room = options.max_width - 1
        fits = [each for each in self._lines if len(each) <= room] or self._lines[-1:]
        beside = room if self._part is None else room - _SHORTEST - 1
        line = next((each for each in fits if len(each) <= beside), fits[0])
        text = Text(line, no_wrap=True, overflow="ellipsis")
        width = min(room - len(line) - 1, _LONGEST)
        if self._part is None or width < _SHORTEST:
            yield text
            return
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(width=width)
        row.add_column(no_wrap=True)
        row.add_row(ProgressBar(total=1.0, completed=self._part, width=width), text)
        yield row
