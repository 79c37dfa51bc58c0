"""A file that names variables of the environment, as the commands read it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import kaiwo as program
from tests.support.command import Kaiwo, clean_environment, tree
from tests.support.stores import Store


def file_of(store: Store, folder: str, target: str) -> dict[str, object]:
    bucket = store.new_bucket({"a": b"1", "d/b": b"2"})
    task = store.task("${BUCKET}", [{"folder": folder, "target_path": target}])
    return {"x-mine": bucket, "download_items": [task]}


def validated(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kaiwo", "validate", "config.yaml"],
        cwd=folder,
        env=clean_environment(folder) | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_run_takes_variables_and_fails_before_it_begins_where_one_is_missing(
    s3: Store, kaiwo: Kaiwo, tmp_path: Path
) -> None:
    file = file_of(s3, "${FOLDER:-d}", "t/${STAGE}")
    variables = {"BUCKET": str(file["x-mine"]), "STAGE": "x"}
    done = kaiwo(file, env=variables)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"t/x/b": b"2"}
    missing = kaiwo(file, env={"BUCKET": "b"})
    assert missing.code == 2
    assert "target_path: the environment has no STAGE" in missing.stderr
    assert "= help: set it, or write ${STAGE:-default}" in missing.stderr
    checked = validated(tmp_path, BUCKET="b")
    assert (checked.returncode, checked.stdout) == (0, "config.yaml: valid, 1 task\n")
    assert (
        ": warning: download_items[0].buckets[0].items[0].target_path: the environment has no STAGE"
        in (checked.stderr)
    )
    assert re.search(r"^config\.yaml:\d+:\d+: warning: ", checked.stderr, re.MULTILINE)
    assert "STAGE" not in validated(tmp_path, **variables).stderr


def test_a_variable_without_braces_is_warned_of_in_a_run(
    s3: Store, kaiwo: Kaiwo, tmp_path: Path
) -> None:
    file = file_of(s3, "d", "$HOME/t")
    done = kaiwo(file, env={"BUCKET": str(file["x-mine"])})
    assert done.code == 0
    assert "'$HOME' is taken as it is written; write ${HOME} for the variable" in done.stderr
    assert tree(tmp_path / "out") == {"$HOME/t/b": b"2"}
    assert "'$HOME' is taken" in validated(tmp_path).stderr


def test_a_program_passes_the_content_of_such_a_file(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(s3, "d", "t")
    monkeypatch.setenv("BUCKET", str(file["x-mine"]))
    assert program.download({"download_root": str(tmp_path / "out"), **file}).ok
    (tmp_path / "kaiwo.yaml").write_text(yaml.safe_dump(file))
    assert program.download(tmp_path / "kaiwo.yaml", download_root=tmp_path / "out").ok
    assert tree(tmp_path / "out") == {"t/b": b"2"}


def test_a_run_logs_few_warnings_of_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [{"file": "k", "target_path": f"$HOME/{number}"} for number in range(30)]
    task = {"type": "url", "items": [{**each, "file": "file:///none"} for each in items]}
    program.download({"download_root": str(tmp_path), "download_items": [task]})
    warnings = [each.getMessage() for each in caplog.records]
    assert sum("$HOME' is taken as it is written" in each for each in warnings) == 10
    assert "and 20 more like these: kaiwo validate shows all" in warnings
