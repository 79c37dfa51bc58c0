"""Log lines: text for people, and one JSON object a line for collectors."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaiwo.cli import logs
from tests.servers import free_port
from tests.support.command import Kaiwo, clean_environment
from tests.support.stores import Store
from tests.support.terminal import on_a_terminal

SECRET = "hunter2"
JSON = ("--log-format", "json")
ITEMS = [{"file": "k", "target_path": "k"}]


def documents(stderr: str) -> list[dict[str, Any]]:
    """Every line of stderr; each must be a log line in JSON."""
    found = [json.loads(line) for line in stderr.splitlines()]
    for document in found:
        assert list(document)[:4] == ["time", "level", "logger", "message"], document
        assert set(document) <= {"time", "level", "logger", "message", "trace"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["time"])
        assert document["level"] in (*logs.LEVELS, "CRITICAL")
        assert document["logger"].partition(".")[0] == "kaiwo"
    return found


def absent() -> dict[str, Any]:
    """A task whose service is not there."""
    return {
        "type": "s3",
        "endpoint_url": f"http://127.0.0.1:{free_port()}",
        "anonymous": True,
        "region": "us-east-1",
        "buckets": [{"name": "b", "items": ITEMS}],
    }


# --- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_every_line_of_a_run_is_an_object(kaiwo: Kaiwo, s3: Store, level: str) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), ITEMS)
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    done = kaiwo({"download_items": [task]}, *JSON, "--log-level", level)
    assert (done.code, done.stdout) == (0, "")
    lines = documents(done.stderr)
    times = [datetime.fromisoformat(each["time"]) for each in lines]
    assert before <= times[0] <= times[-1] <= datetime.now(UTC)
    assert lines[-1]["message"].startswith("1 file, 4 B in place (1 downloaded, 0 unchanged) in ")
    assert any(each["level"] == "DEBUG" for each in lines) == (level == "DEBUG")


def test_every_line_of_a_failure_is_an_object(kaiwo: Kaiwo) -> None:
    done = kaiwo({"download_items": [absent()]}, *JSON, "--retries", "1", "--startup-wait", "0")
    assert done.code == 5
    assert {"WARNING", "ERROR"} <= {each["level"] for each in documents(done.stderr)}


@pytest.mark.parametrize(
    "config",
    ["download_items: [{type: s4}, {typ: s3}]", "download_items: [", "x: 1"],
    ids=["two faults", "no YAML", "no items"],
)
def test_a_wrong_file_is_one_object(kaiwo: Kaiwo, config: str) -> None:
    done = kaiwo(config, *JSON)
    (document,) = documents(done.stderr)
    assert (done.code, document["level"]) == (2, "ERROR")


@pytest.mark.parametrize(
    "words",
    [
        ("download",),
        ("download", "x", "--no-such-option"),
        ("download", "x", "--max-workers", "0"),
        ("download", "x", "--log-level", "LOUD"),
        ("no-such-command",),
        (),
        ("plan", "no-such-file"),
        ("validate", "no-such-file"),
        ("fetch", "no URL"),
        ("fetch", "s3://b/k", "-o", "no field"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_object(tmp_path: Path, words: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kaiwo", *words],
        cwd=tmp_path,
        env=clean_environment(tmp_path) | {"KAIWO_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (document,) = documents(done.stderr)
    assert document["level"] == "ERROR"
    assert document["message"]


def test_the_form_is_one_of_two(kaiwo: Kaiwo) -> None:
    done = kaiwo({"download_items": [absent()]}, "--log-format", "xml")
    assert done.code == 2
    assert "text, json" in done.stderr
    done = kaiwo({"download_items": [absent()]}, env={"KAIWO_LOG_FORMAT": "xml"})
    assert done.code == 2
    assert "KAIWO_LOG_FORMAT" in done.stderr


def test_the_file_may_ask_for_objects(kaiwo: Kaiwo, s3: Store) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), ITEMS)
    done = kaiwo({"download_items": [task], "log_format": "json"})
    assert (done.code, len(documents(done.stderr)) >= 2) == (0, True)
    done = kaiwo({"download_items": [task], "log_format": "json"}, "--log-format", "TEXT")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO ", done.stderr)


@pytest.mark.parametrize("progress", ["auto", "bar", "log", "none"])
def test_on_a_terminal_they_are_objects_too_and_no_bar_is_between_them(
    tmp_path: Path, s3: Store, progress: str
) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), ITEMS)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"download_items": [task]}))
    command = [sys.executable, "-m", "kaiwo.downloader", str(config), "--progress", progress]
    shown = on_a_terminal([*command, *JSON], tmp_path)
    assert documents(shown)


@pytest.mark.parametrize("base", ["Exception", "BaseException"])
def test_a_defect_is_one_object_with_its_trace_and_without_its_words(
    tmp_path: Path, base: str
) -> None:
    # What Rust's panics are raised as derives from BaseException.
    code = f"""\
import sys
from kaiwo.cli.process import guarded

class Panic({base}):
    pass

def fail():
    raise Panic("{SECRET}")

sys.exit(guarded(fail))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(tmp_path) | {"KAIWO_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    (document,) = documents(done.stderr)
    assert (done.returncode, document["level"]) == (1, "CRITICAL")
    assert document["message"] == "this is a bug in kaiwo; please report it: Panic"
    assert "in fail" in document["trace"]
    assert SECRET not in done.stderr


# --- lines ------------------------------------------------------------------------------------


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """kaiwo's logger, afterwards as it was before."""
    logger = logging.getLogger("kaiwo")
    before = logger.handlers[:], logger.level, logger.propagate, threading.excepthook
    logger.handlers[:] = []
    yield logger
    logger.handlers[:], logger.level, logger.propagate, threading.excepthook = before
    logging.captureWarnings(False)
    python = logging.getLogger("py.warnings")
    python.handlers[:], python.propagate = [], True


def log_failure(logger: logging.Logger, why: str) -> None:
    """Log an exception that was raised, and its trace."""

    def fail() -> None:
        raise ValueError(why)

    try:
        fail()
    except ValueError:
        logger.exception("it failed")


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_in_a_line(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    logs.log_to_stderr("DEBUG", form)
    logger.info("GET https://host/k?sig=%s", SECRET)
    log_failure(logger, f"https://host/k?X-Amz-Signature={SECRET}")
    shown = capsys.readouterr().err
    assert "***" in shown
    assert "ValueError" in shown
    assert SECRET not in shown


def test_a_trace_is_a_field_of_its_own(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.log_to_stderr("DEBUG", "json")
    log_failure(logger, "why")
    logger.error("so did this", extra={"trace": "line 1\nline 2"})
    first, second = documents(capsys.readouterr().err)
    assert first["message"] == "it failed"
    assert first["trace"].startswith("Traceback (most recent call last):\n")
    assert first["trace"].endswith("\nValueError: why")
    assert (second["message"], second["trace"]) == ("so did this", "line 1\nline 2")


def test_a_trace_stands_below_its_line(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.log_to_stderr("DEBUG", "text")
    logger.error("it failed", extra={"trace": "line 1\nline 2"})
    assert capsys.readouterr().err.endswith(" ERROR it failed\nline 1\nline 2\n")


ODD = 'ñ 🚀 "\\ \n \t \x1b[31m \x07 \udcff [red]x[/wrong] %s'


def test_names_in_an_object_are_data_whatever_they_are(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.log_to_stderr("INFO", "json")
    logger.info("%s", ODD)
    (document,) = documents(capsys.readouterr().err)
    assert document["message"] == ODD


def test_names_in_a_line_cannot_control_a_terminal(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.log_to_stderr("INFO", "text")
    logger.info("%s", ODD.replace("\udcff", "\x9b2J \u202e"))
    shown = capsys.readouterr().err
    assert r"\x1b[31m \x07 \x9b2J \u202e" in shown
    assert "\x9b" not in shown
    assert "\x1b" not in shown
    assert "[red]x[/wrong] %s" in shown


def test_what_python_itself_says_is_an_object_too(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.log_to_stderr("INFO", "json")

    def fail() -> None:
        raise ValueError(f"https://host/?sig={SECRET}")

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("beware", UserWarning, stacklevel=1)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["message"] == "worker ended: ValueError"
    assert "fail" in first["trace"]
    assert SECRET not in json.dumps(first)
    assert (second["level"], second["logger"]) == ("WARNING", "py.warnings")
    assert "UserWarning: beware" in second["message"]


# --- streams that are not there ---------------------------------------------------------------


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_a_closed_stream_does_not_hinder_a_download(tmp_path: Path, s3: Store, closed: str) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    config = tmp_path / "config.yaml"
    document = {"download_root": str(tmp_path / "out"), "download_items": [s3.task(bucket, ITEMS)]}
    config.write_text(yaml.safe_dump(document))
    command = f'"$0" -m kaiwo.downloader config.yaml --log-level DEBUG {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "out" / "k").read_bytes() == b"data"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_that_nobody_reads_any_more_does_not_hinder_a_download(
    tmp_path: Path, s3: Store, form: str
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    config = tmp_path / "config.yaml"
    document = {"download_root": str(tmp_path / "out"), "download_items": [s3.task(bucket, ITEMS)]}
    config.write_text(yaml.safe_dump(document))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "kaiwo.downloader", str(config), "--log-format", form]
    environment = clean_environment(tmp_path)
    with os.fdopen(writer, "wb") as stderr:
        done = subprocess.run(command, env=environment, stderr=stderr, check=False)
    assert done.returncode == 0
    assert (tmp_path / "out" / "k").read_bytes() == b"data"


def test_results_that_nobody_reads_are_no_defect(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "kaiwo", "schema"]
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            command, env=clean_environment(tmp_path), stdout=stdout, stderr=-1, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")
