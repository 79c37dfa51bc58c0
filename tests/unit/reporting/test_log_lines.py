"""Log lines of single events: one line each, whatever the names are."""

from __future__ import annotations

import pytest

from kaiwo.errors import NotFoundError, UnreachableError
from kaiwo.events import Event, Retried, Settled
from kaiwo.objects import Item
from kaiwo.reporting.log_lines import EventLog


def said(event: Event, caplog: pytest.LogCaptureFixture) -> str:
    """The only line about that event."""
    with caplog.at_level("INFO", logger="kaiwo"):
        EventLog().add(event)
    (record,) = caplog.records
    return record.getMessage()


def test_a_failure_is_one_line_whatever_the_names_are(caplog: pytest.LogCaptureFixture) -> None:
    odd = "two\nlines \x1b[31m\u202e"
    failed = Item("t", f"s3://b/{odd}", f"/t/{odd}", "failed", 1, error=NotFoundError("gone"))
    line = said(Settled(failed), caplog)
    assert line.isprintable()
    assert r"s3://b/two\nlines \x1b[31m\u202e: gone" in line


def test_a_service_that_is_not_up_is_said_with_how_long_it_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = UnreachableError("listing s3://b/: connection refused")
    assert said(Retried("c.yaml:3", error, 1, 0.2, 30.0295), caplog) == (
        "listing s3://b/: connection refused; attempt 2 in 0.2 s; kaiwo keeps trying for 30 s "
        "(--startup-wait)"
    )
