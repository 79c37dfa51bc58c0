"""The files of a run that are no targets: none of them replaces another one, and no object does."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.scenarios.test_plan_command import command
from tests.support.stores import Store

OPTIONS = {
    "the report": ("--report",),
    "the metrics file": ("--metrics-file",),
    "the lock file": ("--write-lock", "--lock-file"),
}


def written(folder: Path, store: Store, key: str, **item: str) -> Path:
    """A configuration whose download root is its own folder, for an object of that key."""
    bucket = store.new_bucket({key: b"data"})
    task = store.task(bucket, [{"folder": "", "target_path": "./", **item}])
    path = folder / "a.kaiwo.yaml"
    path.write_text(yaml.safe_dump({"download_root": str(folder), "download_items": [task]}))
    return path


@pytest.mark.parametrize("what", OPTIONS)
@pytest.mark.parametrize("is_valid", [True, False])
def test_no_option_may_name_the_configuration(
    s3: Store, tmp_path: Path, what: str, is_valid: bool
) -> None:
    path = written(tmp_path, s3, "a")
    text = path.read_text() + ("" if is_valid else "unknown: 1\n")
    path.write_text(text)
    done = command(tmp_path, "download", path.name, *OPTIONS[what], f"./{path.name}")
    assert (done.returncode, "this is the configuration file" in done.stderr) == (2, True)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == text


def test_a_file_whose_yaml_is_broken_is_not_replaced_by_the_report(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("download_items: [")
    assert command(tmp_path, "download", "a.yaml", "--report", str(path)).returncode == 2
    assert path.read_text() == "download_items: ["


def test_validate_names_the_line_where_two_files_are_one(s3: Store, tmp_path: Path) -> None:
    path = written(tmp_path, s3, "a")
    path.write_text(f"report: {tmp_path}/x\nmetrics_file: x\n{path.read_text()}")
    done = command(tmp_path, "validate", path.name)
    assert done.returncode == 2
    assert f"{path.name}:2:1: metrics_file: this is the report: name another file" in done.stderr


def test_what_is_no_file_may_be_named_twice(s3: Store, tmp_path: Path) -> None:
    path = written(tmp_path, s3, "a")
    options = ("--report", "/dev/null", "--metrics-file", "/dev/null")
    assert command(tmp_path, "download", path.name, *options).returncode == 0
    assert (tmp_path / "a").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("a.kaiwo.yaml", "the configuration file"),
        ("a.kaiwo.lock", "the lock file"),
        ("report.json", "the report"),
        ("metrics", "the metrics file"),
    ],
)
def test_no_object_gets_the_name_of_one(s3: Store, tmp_path: Path, key: str, what: str) -> None:
    path = written(tmp_path, s3, key)
    text = path.read_text()
    options = ("--report", "report.json", "--metrics-file", "metrics", "--write-lock")
    done = command(tmp_path, "download", path.name, *options)
    said = f"{tmp_path}/{key}: this is {what} of the run"
    assert (done.returncode, said in done.stderr) == (2, True)
    assert path.read_text() == text
    assert not (tmp_path / "a.kaiwo.lock").exists()
    if what == "the lock file":
        assert said in command(tmp_path, "lock", path.name).stderr
        assert command(tmp_path, "download", path.name).returncode == 0  # it has no lock
