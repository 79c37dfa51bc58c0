"""The result for programs, exactly as the contract has it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kaiwo.errors import (
    ConfigError,
    CredentialsError,
    DiskError,
    KaiwoError,
    NotFoundError,
    StoppedError,
)
from kaiwo.events import Planned, Progressed, Settled
from kaiwo.objects import Checksum, Item, Report
from kaiwo.reporting import json_report

COUNTS = [
    "version",
    "ok",
    "exit_code",
    "seconds",
    "files",
    "bytes",
    "transferred_bytes",
    "downloaded",
    "unchanged",
    "resumed",
    "failed",
]
ITEM = [
    "task",
    "source",
    "target",
    "status",
    "bytes",
    "seconds",
    "attempts",
    "etag",
    "checksum",
    "error",
]
MD5 = Checksum("md5", "0" * 32)


def item(number: int = 0, error: KaiwoError | None = None, **fields: Any) -> Item:
    status = "downloaded" if error is None else "failed"
    given: dict[str, Any] = {"status": status, "bytes": 10, **fields}
    return Item("task", f"s3://b/{number}", f"/t/{number}", error=error, **given)


def mixed() -> Report:
    return Report(
        4,
        12.34567,
        37,
        (
            item(0, seconds=1.23456, attempts=2, etag="e", checksum=MD5, verified=True),
            item(1, status="unchanged", checksum=MD5),
            item(2, status="resumed"),
            item(3, NotFoundError("gone; see https://user:hunter2@host/?sig=hunter2"), bytes=5),
        ),
    )


def test_the_fields_are_those_of_the_contract_and_no_others() -> None:
    document = json_report.as_json(mixed())
    assert list(document) == [*COUNTS, "items"]
    assert [list(each) for each in document["items"]] == [ITEM] * 4
    assert {name: document[name] for name in COUNTS} == {
        "version": 1,
        "ok": False,
        "exit_code": 4,
        "seconds": 12.346,
        "files": 4,
        "bytes": 35,
        "transferred_bytes": 37,
        "downloaded": 1,
        "unchanged": 1,
        "resumed": 1,
        "failed": 1,
    }


def test_an_item_says_what_became_of_it() -> None:
    first, second, third, fourth = json_report.as_json(mixed())["items"]
    assert first == {
        "task": "task",
        "source": "s3://b/0",
        "target": "/t/0",
        "status": "downloaded",
        "bytes": 10,
        "seconds": 1.235,
        "attempts": 2,
        "etag": "e",
        "checksum": {"algorithm": "md5", "value": "0" * 32, "verified": True},
        "error": None,
    }
    assert (second["status"], second["checksum"]["verified"]) == ("unchanged", False)
    assert (third["status"], third["checksum"], third["etag"]) == ("resumed", None, None)
    assert (fourth["status"], fourth["error"]["kind"]) == ("failed", "not found")


def test_no_secret_of_an_error_is_in_it() -> None:
    assert "hunter2" not in json.dumps(json_report.as_json(mixed()))
    assert "hunter2" not in json_report.termination_message(mixed())


def test_all_in_place_is_ok() -> None:
    document = json_report.as_json(Report(0, 1.0, 10, (item(),)))
    assert (document["ok"], document["exit_code"], document["failed"]) == (True, 0, 0)


def test_a_run_that_did_not_begin_has_its_error_and_exit_code() -> None:
    failed = json_report.Settlements().until(ConfigError("config.yaml:3: unknown key 'x'"))
    document = json_report.as_json(failed)
    assert (document["ok"], document["exit_code"], document["files"]) == (False, 2, 0)
    assert document["error"] == {"kind": "config", "message": "config.yaml:3: unknown key 'x'"}
    stopped = json_report.Settlements().until(StoppedError("SIGTERM", 15))
    assert json_report.as_json(stopped)["exit_code"] == 143


def test_a_run_that_was_ended_has_what_was_settled_before() -> None:
    settled = json_report.Settlements()
    for event in (
        Planned(3, 30, 0),
        Progressed(10),
        Settled(item(0, status="resumed")),
        Progressed(-4),
        Progressed(6),
        Settled(item(1, NotFoundError("gone"))),
    ):
        settled.emit(event)
    document = json_report.as_json(settled.until(StoppedError("stopped by SIGTERM", 15)))
    assert (document["exit_code"], document["transferred_bytes"]) == (143, 16)
    assert (document["resumed"], document["failed"]) == (1, 1)
    assert [each["source"] for each in document["items"]] == ["s3://b/0", "s3://b/1"]
    assert document["error"] == {"kind": "stopped", "message": "stopped by SIGTERM"}


# --- written ----------------------------------------------------------------------------------


def test_it_is_written_as_json_whatever_the_names(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    odd = "ñ 日本 🚀 \x1b[31m \udcff [red]"
    done = Report(4, 0, 0, (item(0, NotFoundError(odd), etag=odd, checksum=MD5),))
    json_report.deliver(done, str(path))
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["items"][0]["etag"] == document["items"][0]["error"]["message"] == odd
    assert os.listdir(tmp_path) == ["report.json"]


def test_an_older_report_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("x" * 100_000)
    json_report.deliver(mixed(), str(path))
    assert json.loads(path.read_text()) == json_report.as_json(mixed())


def test_a_dash_is_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    json_report.deliver(mixed(), "-")
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (json_report.as_json(mixed()), "")
    assert out.endswith("}\n")


def test_with_an_error_and_without_items_it_is_json_too(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for done in (Report(0, 1.0), Report(2, 1.0, error=ConfigError("why")), mixed()):
        json_report.deliver(done, str(path))
        assert json.loads(path.read_text()) == json_report.as_json(done)


def test_its_mode_is_the_umasks(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        json_report.deliver(mixed(), str(tmp_path / "report.json"))
    finally:
        os.umask(before)
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o640


def test_what_is_no_file_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    json_report.deliver(mixed(), str(pipe))
    json_report.deliver(mixed(), "/dev/null")
    assert json.loads(os.read(reader, 65_536)) == json_report.as_json(mixed())
    os.close(reader)
    assert pipe.is_fifo()
    assert Path("/dev/null").is_char_device()
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("report.json")
    json_report.deliver(mixed(), str(tmp_path / "link"))
    assert json.loads((tmp_path / "report.json").read_text()) == json_report.as_json(mixed())
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_that_nobody_reads_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DiskError, match="pipe: No such device"):
        json_report.deliver(Report(0, 1.0), str(pipe))


def test_a_report_that_cannot_be_written_is_told_in_the_termination_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(tmp_path / "log"))
    with pytest.raises(DiskError):
        json_report.deliver(Report(0, 1.0), str(tmp_path / "none" / "report.json"))
    message = json.loads((tmp_path / "log").read_text())
    assert (message["exit_code"], message["ok"]) == (6, False)
    assert "report.json" in message["failures"][0]["message"]


def test_a_report_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="no-such-folder"):
        json_report.deliver(Report(0, 1.0), str(tmp_path / "no-such-folder" / "report.json"))


def test_a_report_that_cannot_be_written_does_not_hide_the_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    json_report.deliver(mixed(), str(tmp_path / "no-such-folder" / "report.json"))
    assert "no-such-folder" in caplog.text


def test_without_a_destination_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    json_report.deliver(mixed(), None)
    assert (os.listdir(tmp_path), capsys.readouterr()) == ([], ("", ""))


# --- in a pod ---------------------------------------------------------------------------------

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
    message = json_report.termination_message(Report(3, 1.0, 0, failed))
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
    document = json.loads(json_report.termination_message(Report(4, 1.0, 0, (failed,))))
    assert len(document["failures"]) == 1


def test_the_termination_message_of_a_success_has_no_failures() -> None:
    document = json.loads(json_report.termination_message(Report(0, 1.0, 10, (item(),))))
    assert (document["ok"], document["failures"]) == (True, [])


def test_what_ended_the_run_comes_first() -> None:
    failed = Report(2, 0, 0, (item(1, NotFoundError("later")),), ConfigError("the first"))
    first, second = json.loads(json_report.termination_message(failed))["failures"]
    assert (first["kind"], first["message"]) == ("config", "the first")
    assert (second["kind"], second["message"]) == ("not found", "later")


def test_it_goes_where_the_pod_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "termination-log"
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(path))
    json_report.write_termination_message(mixed())
    assert path.read_text() == json_report.termination_message(mixed())


def test_it_is_written_into_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a pod that is mounted, and cannot be replaced.
    path = tmp_path / "termination-log"
    path.write_text("x" * 10_000)
    inode = path.stat().st_ino
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(path))
    json_report.write_termination_message(mixed())
    assert path.read_text() == json_report.termination_message(mixed())
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
    json_report.write_termination_message(mixed())
    assert "termination message" in caplog.text


def test_a_termination_message_that_cannot_be_written_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KAIWO_TERMINATION_LOG", str(tmp_path / "none" / "log"))
    json_report.write_termination_message(mixed())
    assert "termination message" in caplog.text


def test_a_report_without_a_folder_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    for destination in (None, "-", "report.json", str(tmp_path / "report.json")):
        json_report.require_folder(destination)
    with pytest.raises(DiskError, match="there is no folder"):
        json_report.require_folder(str(tmp_path / "nowhere" / "report.json"))
