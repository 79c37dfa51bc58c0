"""What a run that ends, or resumes, says: the same numbers everywhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kaiwo.errors import UnfinishedError
from kaiwo.events import Planned, Settled
from kaiwo.reporting.bar import BarSink
from kaiwo.reporting.displays import LogSink
from tests.unit.reporting.reports import came
from tests.unit.reporting.test_displays import FAILED, drawn, ended, item, tell, terminal


def test_a_stopped_run_counts_what_it_did_not_get_to_as_no_failure() -> None:
    console, stream = terminal()
    left = UnfinishedError("the run was stopped")
    under_way, gone = (item("failed", attempts=1, error=error) for error in (left, FAILED))
    settled = [Settled(each) for each in (under_way, gone)]
    tell(BarSink(console), [Planned(2, 20, 0), came(10), *settled, ended(130, under_way)])
    assert drawn(stream)[-1].startswith("stopped, 1 of 2 files (1 failed), 10 B of 20 B")


def test_into_a_pipe_a_bar_is_one_whole_line() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=False, width=80)
    tell(BarSink(console), [Planned(1, 10, 0), came(10), ended(0)])
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("done, ")
    assert stream.getvalue().endswith("\n")


def test_the_first_line_says_what_is_left_to_fetch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "kaiwo"):
        tell(LogSink(), [Planned(1, 3 << 20, 0, kept_bytes=1 << 20)])
    assert "1 file, 2.0 MiB to fetch (1.0 MiB left by earlier runs)" in caplog.text
