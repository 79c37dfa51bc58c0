"""``kaiwo plan``, ``--dry-run`` and ``kaiwo schema``: everything decided, nothing done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.support.command import Kaiwo, clean_environment, configured, tree
from tests.support.proxies import counting
from tests.support.stores import Store
from tests.support.terminal import on_a_terminal


def command(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """``python -m kaiwo`` with these words."""
    return subprocess.run(
        [sys.executable, "-m", "kaiwo", *words],
        input=stdin,
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_plan_names_what_would_be_fetched_and_reads_no_object(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one", "b/c": b"three"})
    with counting(s3) as proxy:
        task = proxy.stores[0].task(bucket, [{"folder": "", "target_path": "x"}])
        path = configured(tmp_path, task)
        done = command(tmp_path, "plan", path, "--json")
        assert proxy.counts().gets == 0
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"], document["files"], document["bytes"]) == (
        0,
        True,
        2,
        8,
    )
    planned = {item["target"]: (item["action"], item["bytes"]) for item in document["items"]}
    out = tmp_path / "out" / "x"
    assert planned == {str(out / "a"): ("fetch", 3), str(out / "b/c"): ("fetch", 5)}
    assert document["totals"]["bytes_to_fetch"] == 8
    (room,) = document["file_systems"]
    assert room["is_enough"]
    assert room["bytes_needed"] >= 8
    assert len({tuple(item) for item in document["items"]}) == 1
    assert not (tmp_path / "out").exists()


def test_a_plan_knows_what_is_in_place(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one", "b": b"two"})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "x"}]))
    assert command(tmp_path, "download", path).returncode == 0
    (tmp_path / "out/x/b").unlink()
    lines = command(tmp_path, "plan", path).stdout.splitlines()
    assert lines[:4] == [
        "s3",
        "  fetch      1 file, 3 B",
        f"         3 B  s3://{bucket}/b -> {tmp_path}/out/x/b",
        "  unchanged  1 file, 3 B",
    ]
    assert lines[4:6] == ["", "1 file, 3 B to fetch; 1 file, 3 B in place"]
    assert lines[6].startswith("room on /")
    with_all = command(tmp_path, "plan", path, "--all").stdout
    assert f"  unchanged  1 file, 3 B\n         3 B  s3://{bucket}/a -> " in with_all


def test_a_plan_knows_what_is_there_without_its_memory(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"there": b"two"})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "x"}]))
    (tmp_path / "out/x").mkdir(parents=True)
    (tmp_path / "out/x/there").write_bytes(b"???")
    document = json.loads(command(tmp_path, "plan", path, "--json").stdout)
    (item,) = document["items"]
    # Its checksum decides, and that is read by a run only.
    assert (item["action"], item["bytes_to_fetch"]) == ("check", 0)
    assert document["totals"]["bytes_in_place"] == 0


def test_a_plan_exits_as_the_download_would(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one", "a/b": b"two"})
    clash = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "x"}]))
    assert command(tmp_path, "plan", clash).returncode == 2
    done = command(tmp_path, "plan", clash, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["ok"]) == (2, 2, False)
    assert document["error"]["kind"] == "unsafe_name"
    (conflict,) = document["conflicts"]
    assert "needs a folder where" in conflict
    missing = configured(tmp_path, s3.task("no-such-bucket", [{"file": "a", "target_path": "x"}]))
    done = command(tmp_path, "plan", missing)
    assert (done.returncode, "no-such-bucket" in done.stderr) == (4, True)


def test_in_place_of_a_plan_in_json_an_error_is_json_too(tmp_path: Path) -> None:
    path = configured(tmp_path, {"type": "s4"})
    for words in ((path,), ("none.yaml",)):
        done = command(tmp_path, "plan", "--json", *words)
        document = json.loads(done.stdout)
        assert (document["ok"], document["exit_code"], done.returncode) == (False, 2, 2)
        assert document["error"]["kind"] == "config"
        assert "Traceback" not in done.stderr
        assert " ERROR " in done.stderr
    # One without it says so to people alone.
    assert command(tmp_path, "plan", path).stdout == ""


def test_a_file_may_come_from_stdin(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    item = f"{{file: 'file://{tmp_path}/a', target_path: x/a}}"
    text = f"download_items:\n  - {{type: url, items: [{item}]}}\n"
    planned = command(tmp_path, "plan", "-", stdin=text)
    assert (planned.returncode, planned.stdout.splitlines()[1]) == (0, "  fetch      1 file, 4 B")
    done = command(tmp_path, "download", "-", stdin=text)
    assert (done.returncode, (tmp_path / "x/a").read_bytes()) == (0, b"data")
    wrong = command(tmp_path, "download", "-", stdin=text.replace("file:", "fiel:", 1))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "ERROR <stdin>:2:" in wrong.stderr
    assert "\n2 |   - {type: url" in wrong.stderr


def test_a_dry_run_is_a_plan(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one"})
    task = s3.task(bucket, [{"folder": "", "target_path": "x"}])
    done = kaiwo({"download_items": [task]}, "--dry-run")
    assert (done.code, done.stdout.splitlines()[1]) == (0, "  fetch      1 file, 3 B")
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("columns", [120, 80, 40])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_plan_fits_on_a_terminal(tmp_path: Path, columns: int, term: str) -> None:
    name = "a-rather-long-name-of-a-folder/" * 3
    (tmp_path / "there" / name).mkdir(parents=True)
    (tmp_path / "there" / name / "model-00001-of-00002.bin").write_bytes(b"bytes")
    items = [{"folder": f"file://{tmp_path}/there", "target_path": "x"}]
    path = configured(tmp_path, {"type": "url", "name": "my task", "items": items})
    words = [sys.executable, "-m", "kaiwo", "plan", path]
    shown = on_a_terminal(words, tmp_path, columns=columns, term=term)
    lines = shown.replace("\r\n", "\n").splitlines()
    assert lines[:2] == ["my task", "  fetch      1 file, 5 B"]
    assert all(len(line) <= columns for line in lines)
    assert all(line.isprintable() for line in lines)
    assert sum("…" in line for line in lines) == (2 if columns < 72 else 1)
    assert "-of-00002.bin" in shown
    assert "1 file, 5 B to fetch" in shown
    piped = command(tmp_path, "plan", path).stdout
    assert f"{name}model-00001-of-00002.bin -> {tmp_path}/out/x/{name}model" in piped


VALID = """
max_workers: 4
download_items:
  - type: s3
    buckets: [{name: b, items: [{file: k, target_path: t}, {folder: f, target_path: u}]}]
  - {type: hf, repo_id: a/b}
"""


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (VALID, True),
        (VALID.replace("repo_id", "repoid"), False),
        (VALID.replace("max_workers", "max_worker"), False),
        ("max_workers: 4", False),
    ],
)
def test_the_schema_accepts_what_the_command_accepts(
    tmp_path: Path, text: str, valid: bool
) -> None:
    schema = json.loads(command(tmp_path, "schema").stdout)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(text)) is valid
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    assert (command(tmp_path, "validate", "c.yaml").returncode == 0) is valid
