"""What is written when a run ends, however it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kaiwo.errors import ConfigError, DiskError, NotFoundError, StoppedError
from kaiwo.events import Ended, Event, Planned, Settled
from kaiwo.objects import Report
from kaiwo.reporting import json_report
from kaiwo.reporting.outputs import Outputs
from tests.unit.reporting.reports import item, mixed


def test_a_run_that_did_not_begin_has_its_error_and_exit_code() -> None:
    failed = Outputs().report(ConfigError("config.yaml:3: unknown key 'x'"))
    document = json_report.as_json(failed)
    assert (document["ok"], document["exit_code"], document["files"]) == (False, 2, 0)
    assert document["error"] == {"kind": "config", "message": "config.yaml:3: unknown key 'x'"}
    stopped = Outputs().report(StoppedError("SIGTERM", 15))
    assert json_report.as_json(stopped)["exit_code"] == 143


def test_a_run_that_was_ended_has_what_was_settled_before() -> None:
    outputs = Outputs()
    settled = (item(0, status="resumed"), item(1, NotFoundError("gone")))
    stopped = StoppedError("stopped by SIGTERM", 15)
    events: list[Event] = [Planned(3, 30, 0), *map(Settled, settled)]
    for event in [*events, Ended(Report(143, 1.0, 16, settled, stopped))]:
        outputs.emit(event)
    document = json_report.as_json(outputs.report(stopped))
    assert (document["exit_code"], document["transferred_bytes"]) == (143, 16)
    assert (document["resumed"], document["failed"]) == (1, 1)
    assert [each["source"] for each in document["items"]] == ["s3://b/0", "s3://b/1"]
    assert document["error"] == {"kind": "stopped", "message": "stopped by SIGTERM"}


def test_a_signal_after_the_run_is_in_the_report_of_all_that_it_did() -> None:
    outputs = Outputs()
    outputs.emit(Ended(Report(0, 1.0, 10, (item(),))))
    report = outputs.report(StoppedError("stopped by SIGINT", 2))
    assert (report.exit_code, report.count("downloaded")) == (130, 1)


def test_of_several_runs_the_last_one_counts() -> None:
    outputs = Outputs()
    outputs.emit(Ended(Report(4, 1.0, 0, (item(0, NotFoundError("gone")),))))
    last = mixed()
    outputs.emit(Ended(last))
    assert outputs.report() is last


def test_a_report_that_cannot_be_written_is_told_in_the_termination_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(tmp_path / "log"))
    with pytest.raises(DiskError):
        Outputs(str(tmp_path / "none" / "report.json")).write(Report(0, 1.0))
    message = json.loads((tmp_path / "log").read_text())
    assert (message["exit_code"], message["ok"]) == (6, False)
    assert "report.json" in message["failures"][0]["message"]


def test_a_report_that_cannot_be_written_does_not_hide_the_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Outputs(str(tmp_path / "no-such-folder" / "report.json")).write(mixed())
    assert "no-such-folder" in caplog.text


def test_without_a_destination_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Outputs().write(mixed())
    assert (os.listdir(tmp_path), capsys.readouterr()) == ([], ("", ""))
