"""The report so far, of runs that end in different ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo.api import run
from kaiwo.config.document import Document
from kaiwo.config.loader import Config, build
from kaiwo.engine.flight import Flights
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.engine.settlement import Settlement
from kaiwo.errors import Interrupted, NotFoundError, StoppedError
from kaiwo.events import Ended, Event, Settled
from kaiwo.jobs import Plan
from kaiwo.objects import Item, Report
from kaiwo.state.state import State
from tests.support.faulty import RecordingSink

STOPPED = StoppedError("stopped by SIGTERM", 15)


class StoppingSink(RecordingSink):
    """Gets a signal after some events of one kind."""

    def __init__(self, kind: type[Event], count: int) -> None:
        super().__init__()
        self._kind, self._left = kind, count

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, self._kind):
            self._left -= 1
            if self._left == 0:
                raise Interrupted(STOPPED)


def three_files(tmp_path: Path) -> Config:
    for name in "abc":
        (tmp_path / name).write_text(name)
    items = [{"file": f"file://{tmp_path}/{name}", "target_path": name} for name in "abc"]
    document = Document("config", {"download_items": [{"type": "url", "items": items}]})
    return build(document, {"download_root": str(tmp_path / "out"), "max_workers": 1})


def last(sink: RecordingSink) -> Report:
    event = sink.events[-1]
    assert isinstance(event, Ended)
    return event.report


def test_a_run_that_a_signal_ends_hands_out_what_was_settled_before(tmp_path: Path) -> None:
    sink = StoppingSink(Settled, 2)
    with pytest.raises(Interrupted):
        run.run(three_files(tmp_path), sink)
    report = last(sink)
    assert (report.exit_code, report.error, len(report.items)) == (143, STOPPED, 3)
    shown = [event.item for event in sink.events if isinstance(event, Settled)]
    assert list(report.items) == shown
    assert (report.count("downloaded"), report.count("failed")) == (2, 1)
    assert report.transferred_bytes >= 2


def test_a_signal_at_the_very_end_loses_no_item(tmp_path: Path) -> None:
    sink = StoppingSink(Ended, 1)
    with pytest.raises(Interrupted):
        run.run(three_files(tmp_path), sink)
    report = last(sink)
    assert (report.exit_code, report.error, report.count("downloaded")) == (143, STOPPED, 3)


def test_an_error_decides_the_exit_code_of_the_report() -> None:
    settled = Settlement(Flights(), State(), RunningDigests(), RecordingSink(), lambda: None)
    missed = Item("task", "s3://b/k", "/t/k", "failed", 1, error=NotFoundError("gone"))
    settled.enter_plan(Plan(missed=(missed,)))
    assert (settled.report().exit_code, settled.report().error) == (4, None)
    stopped = settled.report(STOPPED)
    assert (stopped.exit_code, stopped.error, len(stopped.items)) == (143, STOPPED, 1)
