"""Why a container ended, in the file that Kubernetes reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kaiwo.errors import ConfigError, CredentialsError, NotFoundError
from kaiwo.objects import Item, Report
from kaiwo.reporting import termination_message
from tests.unit.reporting.reports import COUNTS, item, mixed

TEXTS = {
    "ASCII": "reading s3://bucket/key: 403 AccessDenied; check the key",
    "Latin": "ñ" * 200,
    "Japanese": "日本語のファイル名" * 30,
    "emoji": "🚀" * 700,
    "long": "x" * 5_000,
    "control characters": "\x1b" * 1_000,
    "surrogates": "\udcff" * 1_000,
    "quotes": '"\\' * 500,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_thousand_failures_fit_in_a_termination_message(text: str) -> None:
    failed = tuple(item(number, CredentialsError(f"{number} {text}")) for number in range(1_000))
    message = termination_message.text(Report(3, 1.0, 0, failed))
    assert len(message.encode("utf-8")) <= 4_096
    document = json.loads(message)
    assert list(document) == [*COUNTS, "failures"]
    assert (document["exit_code"], document["files"], document["failed"]) == (3, 1_000, 1_000)
    assert document["failures"][0]["source"] == "s3://b/0"
    assert document["failures"][0]["message"].startswith("0 ")
    sources = [each["source"] for each in document["failures"]]
    assert sources == [f"s3://b/{number}" for number in range(len(sources))]


def test_a_failure_with_the_longest_of_keys_is_named() -> None:
    key = "日本" * 170  # 1,020 bytes in UTF-8
    failed = Item("task", f"s3://bucket/{key}", f"/t/{key}", "failed", 1, error=NotFoundError(key))
    document = json.loads(termination_message.text(Report(4, 1.0, 0, (failed,))))
    assert len(document["failures"]) == 1


def test_the_termination_message_of_a_success_has_no_failures() -> None:
    document = json.loads(termination_message.text(Report(0, 1.0, 10, (item(),))))
    assert (document["ok"], document["failures"]) == (True, [])


def test_what_ended_the_run_comes_first() -> None:
    failed = Report(2, 0, 0, (item(1, NotFoundError("later")),), ConfigError("the first"))
    first, second = json.loads(termination_message.text(failed))["failures"]
    assert (first["kind"], first["message"]) == ("config", "the first")
    assert (second["kind"], second["message"]) == ("not_found", "later")


def test_it_goes_where_the_pod_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "termination-log"
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(path))
    termination_message.write(mixed())
    assert path.read_text() == termination_message.text(mixed())


def test_it_is_written_into_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a pod that is mounted, and cannot be replaced.
    path = tmp_path / "termination-log"
    path.write_text("x" * 10_000)
    inode = path.stat().st_ino
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(path))
    termination_message.write(mixed())
    assert path.read_text() == termination_message.text(mixed())
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_cannot_take_a_termination_message_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = tmp_path / "log"
    if kind == "pipe":
        os.mkfifo(path)  # nobody reads it
    else:
        path.mkdir()
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(path))
    termination_message.write(mixed())
    assert "termination message" in caplog.text


def test_a_termination_message_that_cannot_be_written_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(tmp_path / "none" / "log"))
    termination_message.write(mixed())
    assert "termination message" in caplog.text


def test_no_secret_of_an_error_is_in_it() -> None:
    assert "hunter2" not in termination_message.text(mixed())
