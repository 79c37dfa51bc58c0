"""The command when something is wrong: exit code, one clear message, no secret, nothing written."""

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import servers
from tests.support.command import Kaiwo, Run, clean_environment, tree
from tests.support.command_errors import CANARY, ITEMS, TASK, absent, errors_of, refused
from tests.support.stores import Store

# --- the configuration ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("secret_key:", "secret_kye:", "6:5: download_items[0].secret_kye", "'secret_key'"),
        ("file: k", "fiel: k", "10:13: download_items[0].buckets[0].items[0].fiel", "'file'"),
        (
            "    buckets",
            "    secret_key_file: /x\n    buckets",
            "7:5: download_items[0].secret_key_file",
            "not both",
        ),
        ("type: s3", "type: s33", "2:5: download_items[0].type", "'s3'"),
        ("name: models", "secret_key: x", "6:5", "duplicate key 'secret_key'"),
        (
            "target_path: k",
            "# no target",
            "10:13: download_items[0].buckets[0].items[0].target_path",
            "required",
        ),
        (f"secret_key: {CANARY}", f"secret_key: *{CANARY}", "6:17", "not valid YAML"),
        (f"secret_key: {CANARY}", f"secret_key: !{CANARY} x", "6:17", ""),
        (f"secret_key: {CANARY}", f'secret_key: "{CANARY}', "6:17", "a quote is not closed"),
        ("    buckets", "\t buckets", "7:1", "a tab"),
        ("download_items", "a: 1\n---\ndownload_items", "2:1", "a second document"),
        (f"secret_key: {CANARY}", f"secret_key: !!bool {CANARY}", "6:17", ""),
        ("download_items", f"%{CANARY}\ndownload_items", "1:13", "not valid YAML"),
        (
            f"secret_key: {CANARY}",
            "secret_key: 0123",
            "6:5: download_items[0].secret_key",
            "quotes",
        ),
        (f"secret_key: {CANARY}", "secret_key: ''", "6:5: download_items[0].secret_key", "empty"),
    ],
    ids=[
        "misspelled key",
        "misspelled item",
        "both forms",
        "unknown type",
        "duplicate key",
        "no target",
        "undefined alias",
        "unknown tag",
        "open quote",
        "tab",
        "two documents",
        "wrong tag",
        "directive",
        "number",
        "empty secret",
    ],
)
def test_a_fault_in_the_file_is_one_message_with_line_and_field(
    failing: Kaiwo, tmp_path: Path, old: str, new: str, place: str, words: str
) -> None:
    assert old in TASK
    message = refused(failing(TASK.replace(old, new, 1)), tmp_path)
    config = tmp_path / "config.yaml"
    assert message.startswith(f"{config}:{place}: ")
    assert words in message
    assert message.count(f"{config}:") == 1


@pytest.mark.parametrize("kind", ["missing", "empty", "blank", "directory", "binary"])
def test_a_secret_file_that_holds_none_is_one_message_with_line_field_and_path(
    failing: Kaiwo, tmp_path: Path, kind: str
) -> None:
    secret = tmp_path / "secret"
    match kind:
        case "empty":
            secret.touch()
        case "blank":
            secret.write_text("\n")
        case "directory":
            secret.mkdir()
        case "binary":
            secret.write_bytes(CANARY.encode() + b"\xff\xfe")
    config = TASK.replace(f"secret_key: {CANARY}", f"secret_key_file: {secret}")
    message = refused(failing(config), tmp_path)
    place = f"{tmp_path / 'config.yaml'}:6:5: download_items[0].secret_key_file: "
    assert message.startswith(place)
    assert str(secret) in message.removeprefix(place)
    assert message.count("secret_key_file: ***") == 1


def test_validate_opens_no_secret_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(TASK.replace(f"secret_key: {CANARY}", "secret_key_file: /no/such/file"))
    command = [sys.executable, "-m", "kaiwo", "validate", str(config)]
    done = subprocess.run(
        command, env=clean_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert CANARY not in done.stdout


@pytest.mark.parametrize("name", ["", "none.yaml", "folder"])
def test_a_config_file_that_cannot_be_read_is_one_message(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-m", "kaiwo.downloader", *([str(tmp_path / name)] if name else [])]
    done = subprocess.run(
        command, env=clean_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    if name:
        (message,) = errors_of(done.stderr)
        assert message.startswith(f"{tmp_path / name}: ")
    else:
        assert "CONFIG_FILE" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--max-workers", "0"),
        ("--max-workers", "many"),
        ("--log-level", "LOUD"),
        ("--retries", "-1"),
        ("--startup-wait", "-1"),
        ("--startup-wait", "soon"),
        ("--stall-timeout", "0"),
        ("--deadline", "0"),
        ("--deadline", "soon"),
        ("--log-format", "xml"),
        ("--verify", "md5"),
        ("--progress", "dots"),
        ("--no-such-option", "1"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_named(failing: Kaiwo, tmp_path: Path, options: Sequence[str]) -> None:
    done = failing(TASK, *options)
    assert (done.code, done.stdout) == (2, "")
    assert not (tmp_path / "out").exists()
    assert done.stderr.count(options[0]) >= 1
    assert len(re.findall("(?m)^(Error|.*ERROR)", done.stderr)) == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [("KAIWO_MAX_WORKERS", CANARY), ("KAIWO_LOG_LEVEL", "LOUD"), ("KAIWO_RETRIES", "-1")],
)
def test_a_wrong_variable_of_the_environment_is_named(
    failing: Kaiwo, tmp_path: Path, variable: str, value: str
) -> None:
    message = refused(failing(TASK, env={variable: value}), tmp_path)
    assert variable in message


def test_the_log_level_of_the_environment_may_be_written_small(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), ITEMS)
    done = kaiwo({"download_items": [task]}, env={"KAIWO_LOG_LEVEL": "error"})
    assert (done.code, done.stderr) == (0, "")


def test_a_file_whose_target_is_a_folder_is_one_message_before_anything_is_written(
    failing: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    (tmp_path / "out" / "k").mkdir(parents=True)
    bucket = s3.new_bucket({"k": b"data", "l": b"data"})
    items = [*ITEMS, {"file": "l", "target_path": "l"}]
    done = failing({"download_items": [s3.task(bucket, items, secret_key=CANARY)]})
    assert (done.code, done.stdout) == (2, "")
    (message,) = errors_of(done.stderr)
    assert f"{tmp_path / 'out' / 'k'}: a folder is where the file should go" in message
    assert f"s3://{bucket}/k" in message
    assert f"{tmp_path / 'config.yaml'}:" in message
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("target", ["blocked", "blocked/deeper/"])
def test_a_file_where_a_target_needs_a_folder_is_a_conflict(
    failing: Kaiwo, s3: Store, tmp_path: Path, target: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "blocked").write_bytes(b"mine")
    items = [{"folder": "", "target_path": target}]
    task = s3.task(s3.new_bucket({"k": b"data"}), items, secret_key=CANARY)
    done = failing({"download_items": [task]})
    assert (done.code, done.stdout) == (2, "")
    (message,) = errors_of(done.stderr)
    assert "a file is where a folder is needed" in message
    assert tree(tmp_path / "out") == {"blocked": b"mine"}


def test_a_target_where_no_folder_can_be_made_is_a_disk_failure(failing: Kaiwo, s3: Store) -> None:
    # Not even root can make a folder in /proc.
    items = [{"file": "k", "target_path": "/proc/kaiwo-test/k"}]
    task = s3.task(s3.new_bucket({"k": b"data"}), items, secret_key=CANARY)
    done = failing({"download_items": [task]})
    assert (done.code, done.stdout) == (6, "")
    assert "/proc/kaiwo-test" in done.stderr
    assert done.report["items"][0]["error"]["kind"] == "disk"


# --- what an ordinary user may not ------------------------------------------------------------


def _give_up_the_rights_of_root() -> None:
    """Let permissions count for root, too, in the program that is started next (Linux)."""
    if sys.platform == "linux":
        drop, override, read_search = 24, 1, 2
        for capability in (override, read_search):
            ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


@pytest.fixture
def as_ordinary_user(tmp_path: Path) -> Callable[[Path], Run]:
    """The command on a file, without the right to pass over permissions."""
    locked = tmp_path / "locked"
    locked.touch(mode=0)
    ordinary: dict[str, Any] = {"capture_output": True, "text": True}
    ordinary["preexec_fn"] = _give_up_the_rights_of_root
    if subprocess.run(["cat", str(locked)], check=False, **ordinary).returncode == 0:
        pytest.skip("root can read and write everything here")

    def run(config: Path) -> Run:
        command = [sys.executable, "-m", "kaiwo.downloader", str(config)]
        environment = clean_environment(tmp_path)
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, **ordinary)
        assert CANARY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return Run(done.returncode, done.stdout, done.stderr, {})

    return run


def test_a_secret_file_that_may_not_be_read_is_one_message(
    as_ordinary_user: Callable[[Path], Run], tmp_path: Path
) -> None:
    secret, config = tmp_path / "secret", tmp_path / "config.yaml"
    secret.write_text(CANARY)
    secret.chmod(0)
    config.write_text(TASK.replace(f"secret_key: {CANARY}", f"secret_key_file: {secret}"))
    message = refused(as_ordinary_user(config), tmp_path)
    place = f"{config}:6:5: download_items[0].secret_key_file: "
    assert message.startswith(place)
    assert f"{secret}: Permission denied" in message


def test_a_config_file_that_may_not_be_read_is_one_message(
    as_ordinary_user: Callable[[Path], Run], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.touch(mode=0)
    message = refused(as_ordinary_user(config), tmp_path)
    assert message.startswith(f"{config}: ")
    assert "Permission denied" in message


@pytest.mark.parametrize("target", ["k", "deeper/k"])
def test_a_target_that_may_not_be_written_is_a_disk_failure_with_a_hint(
    as_ordinary_user: Callable[[Path], Run], s3: Store, tmp_path: Path, target: str
) -> None:
    out, config = tmp_path / "out", tmp_path / "config.yaml"
    out.mkdir(mode=0o555)
    items = [{"file": "k", "target_path": target}]
    task = s3.task(s3.new_bucket({"k": b"data"}), items, secret_key=CANARY)
    config.write_text(yaml.safe_dump({"download_root": str(out), "download_items": [task]}))
    done = as_ordinary_user(config)
    assert (done.code, done.stdout) == (6, ""), done.stderr
    assert "Permission denied" in done.stderr
    assert "give this user the right to write there" in done.stderr
    assert list(out.iterdir()) == []


# --- the report -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (TASK.replace("secret_key:", "secret_kye:"), 2),
        (TASK.replace(f"secret_key: {CANARY}", "secret_key_file: /no/such/file"), 2),
        (TASK, 5),
    ],
    ids=["misspelled key", "missing secret file", "absent service"],
)
def test_a_failure_is_told_in_the_report_and_the_termination_message(
    failing: Kaiwo, tmp_path: Path, config: str, code: int
) -> None:
    patience = ("--startup-wait", "0", "--retries", "0")
    done = failing(config, *patience)
    assert done.code == code
    termination = (tmp_path / "termination-log").read_bytes()
    assert len(termination) <= 4096
    message = json.loads(termination)
    assert (message["version"], message["ok"], message["exit_code"]) == (1, False, code)
    problem, _, hint = message["failures"][0]["message"].partition("; ")
    assert problem in done.stderr
    assert hint in done.stderr
    assert "items" not in message
    assert (done.report["ok"], done.report["exit_code"]) == (False, code)


@pytest.mark.parametrize(
    ("config", "code"),
    [(TASK.replace("secret_key:", "secret_kye:"), 2), (TASK, 5)],
    ids=["misspelled key", "absent service"],
)
def test_the_report_of_a_failure_is_all_that_goes_to_stdout(
    failing: Kaiwo, config: str, code: int
) -> None:
    done = failing(config, "--startup-wait", "0", "--retries", "0", "--report", "-")
    assert done.code == code
    report = json.loads(done.stdout)
    fields = ("version", "ok", "exit_code", "seconds", "files", "bytes", "transferred_bytes")
    assert all(name in report for name in (*fields, "downloaded", "unchanged", "resumed"))
    assert (report["ok"], report["exit_code"]) == (False, code)


def test_the_termination_message_of_many_failures_is_short_json(
    failing: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    items = [{"file": f"é{i}" + "x" * 200, "target_path": f"t{i}"} for i in range(100)]
    done = failing({"download_items": [s3.task(s3.new_bucket(), items, secret_key=CANARY)]})
    assert done.code == 4
    termination = (tmp_path / "termination-log").read_bytes()
    assert len(termination) <= 4096
    message = json.loads(termination)
    assert message["failed"] == 100
    assert 1 <= len(message["failures"]) < 100


@pytest.mark.parametrize("fault", ["no/such/folder/report.json", "."])
def test_a_report_that_cannot_be_written_is_a_disk_failure(
    failing: Kaiwo, s3: Store, tmp_path: Path, fault: str
) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), ITEMS, secret_key=CANARY)
    done = failing({"download_items": [task]}, "--report", str(tmp_path / fault))
    assert (done.code, done.stdout) == (6, "")
    assert str(tmp_path) in "\n".join(errors_of(done.stderr))


def test_a_termination_log_that_cannot_be_written_does_not_hide_the_failure(
    failing: Kaiwo, tmp_path: Path
) -> None:
    config = TASK.replace("secret_key:", "secret_kye:")
    done = failing(config, env={"KAIWO_TERMINATION_LOG": str(tmp_path / "no" / "log")})
    assert "secret_kye" in refused(done, tmp_path)


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (("missing", "absent"), 4),
        (("disk", "absent"), 6),
        (("disk", "missing"), 4),
        (("disk", "absent", "missing"), 4),
    ],
    ids=str,
)
def test_of_several_kinds_of_failure_one_is_the_exit_code(
    failing: Kaiwo, s3: Store, tmp_path: Path, kinds: Sequence[str], code: int
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    tasks = {
        "missing": s3.task(bucket, [{"file": "none", "target_path": "none"}], secret_key=CANARY),
        "absent": absent("s3", f"http://127.0.0.1:{servers.free_port()}"),
        "disk": s3.task(bucket, [{"file": "k", "target_path": "/proc/no/k"}], secret_key=CANARY),
    }
    # What can be fetched is fetched, although the rest fails.
    fine = s3.task(bucket, [{"file": "k", "target_path": "fine"}], secret_key=CANARY)
    config = {"download_items": [fine, *(tasks[kind] for kind in kinds)]}
    done = failing(config, "--retries", "0", "--startup-wait", "0")
    assert (done.code, done.report["exit_code"]) == (code, code)
    assert (done.report["failed"], done.report["downloaded"]) == (len(kinds), 1)
    termination = json.loads((tmp_path / "termination-log").read_text())
    assert (termination["exit_code"], len(termination["failures"])) == (code, len(kinds))
    assert tree(tmp_path / "out") == {"fine": b"data"}


def test_a_termination_log_that_is_a_pipe_is_not_waited_for(failing: Kaiwo, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    config = TASK.replace("secret_key:", "secret_kye:")
    done = failing(config, env={"KAIWO_TERMINATION_LOG": str(tmp_path / "pipe")})
    assert (done.code, len(errors_of(done.stderr))) == (2, 1)
    assert "cannot write the termination message" in done.stderr
