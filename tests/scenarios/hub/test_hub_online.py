"""Tests against the real Hub; `pytest -m online` runs them, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaiwo.api.fetch import fetch
from kaiwo.errors import ContainerMissingError
from tests.support.command import tree

pytestmark = pytest.mark.online
MODEL = "hf-internal-testing/tiny-random-gpt2"


def test_a_snapshot_of_a_small_model_arrives_and_a_second_one_costs_no_file(tmp_path: Path) -> None:
    fetch(f"hf://{MODEL}/", tmp_path / "model")
    files = tree(tmp_path / "model")
    assert json.loads(files["config.json"])["model_type"] == "gpt2"
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "model").rglob("*.json")}
    fetch(f"hf://{MODEL}/", tmp_path / "model")
    assert {path: path.stat().st_mtime_ns for path in changed} == changed


def test_a_repository_that_was_renamed_is_found_by_its_old_name(tmp_path: Path) -> None:
    path = fetch("hf://gpt2@main/config.json", tmp_path / "config.json")
    assert json.loads(path.read_bytes())["model_type"] == "gpt2"


@pytest.mark.parametrize("transport", ["http", "xet"])
def test_a_large_file_arrives_verified_by_either_transport(tmp_path: Path, transport: str) -> None:
    path = fetch(
        "hf://hf-internal-testing/tiny-random-gpt2/model.safetensors",
        tmp_path / "model.safetensors",
        transport=transport,
    )
    assert path.stat().st_size > 0


def test_a_repository_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ContainerMissingError):
        fetch("hf://hf-internal-testing/there-is-no-such-model/", tmp_path)
