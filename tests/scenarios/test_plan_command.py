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


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``python -m kaiwo`` with these words."""
    return subprocess.run(
        [sys.executable, "-m", "kaiwo", *words],
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
    assert planned == {str(out / "a"): ("download", 3), str(out / "b/c"): ("download", 5)}
    assert not (tmp_path / "out").exists()


def test_a_plan_knows_what_is_in_place(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one", "b": b"two"})
    path = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "x"}]))
    assert command(tmp_path, "download", path).returncode == 0
    (tmp_path / "out/x/b").unlink()
    lines = command(tmp_path, "plan", path).stdout.splitlines()
    assert sorted(line.split()[0] for line in lines) == ["download", "unchanged"]


def test_a_plan_exits_as_the_download_would(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one", "a/b": b"two"})
    clash = configured(tmp_path, s3.task(bucket, [{"folder": "", "target_path": "x"}]))
    assert command(tmp_path, "plan", clash).returncode == 2
    missing = configured(tmp_path, s3.task("no-such-bucket", [{"file": "a", "target_path": "x"}]))
    done = command(tmp_path, "plan", missing)
    assert (done.returncode, "no-such-bucket" in done.stderr) == (4, True)


def test_a_dry_run_is_a_plan(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"one"})
    task = s3.task(bucket, [{"folder": "", "target_path": "x"}])
    done = kaiwo({"download_items": [task]}, "--dry-run")
    assert (done.code, done.stdout.split()[0]) == (0, "download")
    assert tree(tmp_path / "out") == {}


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
