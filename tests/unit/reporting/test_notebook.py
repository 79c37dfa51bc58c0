"""One line in a notebook, which is replaced."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kaiwo.errors import NotFoundError, StoppedError, TransientError
from kaiwo.events import Ended, Event, Planned, Retried, Settled, Ticked
from kaiwo.objects import Item, Report, Status
from kaiwo.reporting.displays import program_sink, sink_for
from kaiwo.reporting.notebook import NotebookSink
from tests.unit.reporting.reports import came

FAILED = NotFoundError("s3://b/x: not found")


def item(status: Status = "downloaded", error: Any = None) -> Item:
    return Item("task", "s3://b/x", "/t/x", status, 10, 0.0, 1, error=error)


def shown(*events: Event) -> list[str]:
    """What the line said, in turn."""
    lines: list[str] = []
    sink = NotebookSink(lines.append)
    for event in events:
        sink.emit(event)
    return lines


def test_it_begins_with_the_listing_shows_a_bar_and_leaves_what_happened() -> None:
    run = (
        Ticked(),
        Planned(2, 20, 0),
        came(10),
        Settled(item()),
        Retried("s3://b/x", TransientError("503"), 1, 0.5),
        Settled(item("failed", FAILED)),
        Ended(Report(4, 1.0, items=(item(), item("failed", FAILED)))),
    )
    first, *_, last = shown(*run)
    assert first == "listing"
    assert last.startswith("1 failed, 2 of 2 files (1 failed), 10 B of 20 B, ")
    bars = [line for line in shown(*run) if "█" in line or "░" in line]
    assert bars[0].startswith("░" * 20 + " downloading: 0 of 2 files, 0 B of 20 B")


@pytest.mark.parametrize(
    ("report", "last"),
    [
        (Report(0, 1.0, items=(item("unchanged"),)), "done, 1 file in place already"),
        (Report(130, 1.0, error=StoppedError("stopped by SIGINT", 2)), "stopped"),
        (Report(4, 1.0, error=FAILED), "failed"),
    ],
)
def test_the_last_line_says_how_it_ended(report: Report, last: str) -> None:
    assert shown(Ticked(), Ended(report)) == ["listing", last]


def test_a_front_end_that_is_gone_is_no_failure_of_the_run() -> None:
    def show(_: str) -> None:
        raise RuntimeError("the kernel's connection is closed")

    NotebookSink(show).emit(Ticked())


def test_the_line_is_one_display_of_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the interface of ``IPython.display``; a kernel shows it in ``test_notebooks``."""
    said: list[tuple[str, str]] = []

    def update(data: dict[str, str], *, raw: bool) -> None:
        assert raw
        said.append(("update", data["text/plain"]))

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> object:
        assert raw
        assert display_id
        said.append(("display", data["text/plain"]))
        return SimpleNamespace(update=update)

    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    for kind in ("auto", "bar"):
        said.clear()
        sink = program_sink(kind)
        sink.emit(Ticked())
        sink.emit(Ended(Report(0, 1.0)))
        assert said == [("display", "listing"), ("update", "done")]
    # The command that a notebook starts is no notebook.
    assert not isinstance(sink_for("auto", pytest.fail), NotebookSink)
