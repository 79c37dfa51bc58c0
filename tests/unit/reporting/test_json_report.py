"""The result for programs, exactly as the contract has it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kaiwo._version import __version__
from kaiwo.errors import ConfigError, DiskError, NotFoundError
from kaiwo.objects import Report
from kaiwo.reporting import json_report
from tests.unit.reporting.reports import COUNTS, MD5, item, mixed

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


def test_the_fields_are_those_of_the_contract_and_no_others() -> None:
    document = json_report.as_json(mixed())
    assert list(document) == [*COUNTS, "items"]
    assert [list(each) for each in document["items"]] == [ITEM] * 4
    assert {name: document[name] for name in COUNTS} == {
        "version": 1,
        "kaiwo_version": __version__,
        "started_at": "2026-03-31T12:00:00.500Z",
        "ended_at": "2026-03-31T12:00:12.845Z",
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
    assert (fourth["status"], fourth["error"]["kind"]) == ("failed", "not_found")


def test_no_secret_of_an_error_is_in_it() -> None:
    assert "hunter2" not in json.dumps(json_report.as_json(mixed()))


def test_all_in_place_is_ok() -> None:
    document = json_report.as_json(Report(0, 1.0, 10, (item(),)))
    assert (document["ok"], document["exit_code"], document["failed"]) == (True, 0, 0)


# --- written ----------------------------------------------------------------------------------


def test_it_is_written_as_json_whatever_the_names(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    odd = "ñ 日本 🚀 \x1b[31m \udcff [red]"
    done = Report(4, 0, 0, (item(0, NotFoundError(odd), etag=odd, checksum=MD5),))
    json_report.write(done, str(path))
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["items"][0]["etag"] == document["items"][0]["error"]["message"] == odd
    assert os.listdir(tmp_path) == ["report.json"]


def test_an_older_report_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("x" * 100_000)
    json_report.write(mixed(), str(path))
    assert json.loads(path.read_text()) == json_report.as_json(mixed())


def test_a_dash_is_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    json_report.write(mixed(), "-")
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (json_report.as_json(mixed()), "")
    assert out.endswith("}\n")


def test_with_an_error_and_without_items_it_is_json_too(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for done in (Report(0, 1.0), Report(2, 1.0, error=ConfigError("why")), mixed()):
        json_report.write(done, str(path))
        assert json.loads(path.read_text()) == json_report.as_json(done)


def test_its_mode_is_the_umasks(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        json_report.write(mixed(), str(tmp_path / "report.json"))
    finally:
        os.umask(before)
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o640


def test_what_is_no_file_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    json_report.write(mixed(), str(pipe))
    json_report.write(mixed(), "/dev/null")
    assert json.loads(os.read(reader, 65_536)) == json_report.as_json(mixed())
    os.close(reader)
    assert pipe.is_fifo()
    assert Path("/dev/null").is_char_device()
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("report.json")
    json_report.write(mixed(), str(tmp_path / "link"))
    assert json.loads((tmp_path / "report.json").read_text()) == json_report.as_json(mixed())
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_that_nobody_reads_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DiskError, match="pipe: No such device"):
        json_report.write(Report(0, 1.0), str(pipe))


def test_a_report_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="no-such-folder"):
        json_report.write(Report(0, 1.0), str(tmp_path / "no-such-folder" / "report.json"))


def test_a_report_without_a_folder_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    for destination in (None, "-", "report.json", str(tmp_path / "report.json")):
        json_report.require_folder(destination)
    with pytest.raises(DiskError, match="nowhere does not exist"):
        json_report.require_folder(str(tmp_path / "nowhere" / "report.json"))
