"""Options over environment over file over default."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.support.configs import (
    CANARY,
    LEAST,
    of,
    read,
    refusal,
)

SETTINGS = [
    ("max_workers", None, 3, "4", 5),
    ("max_bandwidth", None, 2_000_000, "3000", 4_000),
    ("log_level", "INFO", "ERROR", "warning", "debug"),
    ("progress", "auto", "log", "json", "none"),
    ("report", None, "/file", "/env", "/option"),
    ("verify", "checksum", "size", "checksum", "size"),
    ("retries", 5, 1, "2", 0),
    ("startup_wait", 30.0, 1.0, "2.5", 0.0),
    ("stall_timeout", 30.0, 1.0, "2.5", 3.5),
    ("fail_fast", False, True, "0", True),
    ("force", False, True, "false", True),
    ("state_dir", None, "/file", "/env", "/option"),
    ("download_root", None, "/file", "/env", "/option"),
]


def test_settings_of_the_environment_travel_to_other_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAIWO_RETRIES", "2")
    settings = read(yaml.safe_dump({"download_items": [LEAST["hf"]]}), max_workers=3).settings
    arrived = pickle.loads(pickle.dumps(settings))
    assert arrived == settings
    assert (arrived.retries, arrived.max_workers) == (2, 3)
    assert arrived.model_fields_set == settings.model_fields_set


@pytest.mark.parametrize(("name", "default", "file", "environment", "option"), SETTINGS)
def test_an_option_beats_the_environment_beats_the_file_beats_the_default(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    default: object,
    file: object,
    environment: str,
    option: object,
) -> None:
    def value(settings: Mapping[str, object], **options: object) -> object:
        text = yaml.safe_dump({"download_items": [LEAST["hf"]], **settings})
        return getattr(read(text, **options).settings, name)

    def as_kept(given: object) -> object:
        return given.upper() if name == "log_level" and isinstance(given, str) else given

    assert value({}) == default
    assert value({name: file}) == as_kept(file)
    monkeypatch.setenv(f"KAIWO_{name.upper()}", environment)
    from_environment = value({name: file})
    assert from_environment == value({})
    assert from_environment != as_kept(file)
    assert str(from_environment).lower() in {environment, str(environment == "true").lower()}
    assert value({name: file}, **{name: option}) == as_kept(option)
    assert value({name: file}, **{name: None}) == from_environment


def test_a_wrong_value_in_the_environment_names_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAIWO_MAX_WORKERS", CANARY)
    message = refusal("download_items: [{type: hf, repo_id: o/r}]")
    assert "KAIWO_MAX_WORKERS" in message
    assert CANARY not in message
    assert (
        read("download_items: [{type: hf, repo_id: o/r}]", max_workers=2).settings.max_workers == 2
    )


def test_a_wrong_option_is_named_as_one() -> None:
    message = refusal("download_items: [{type: hf, repo_id: o/r}]", max_workers=0)
    assert message.startswith("option --max-workers: ")


def test_by_default_the_run_itself_decides_on_its_workers() -> None:
    assert of(LEAST["hf"]).settings.max_workers is None


def test_a_home_in_the_download_root_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert of(LEAST["hf"], download_root="~/data/").download_root == "/home/somebody/data"


def test_without_a_download_root_it_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert of(LEAST["hf"]).download_root == str(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_workers", 0),
        ("max_workers", "many"),
        ("max_workers", 2.5),
        ("max_workers", True),
        ("max_workers", 100_000),
        ("max_bandwidth", "fast"),
        ("max_bandwidth", 0),
        ("max_bandwidth", -5),
        ("max_bandwidth", "20Mb/s"),
        ("max_bandwidth", "20 Mbit"),
        ("max_bandwidth", True),
        ("max_bandwidth", "200"),
        ("max_bandwidth", ".inf"),
        ("max_bandwidth", ["20M"]),
        ("log_level", "LOUD"),
        ("log_level", 3),
        ("progress", "yes please"),
        ("verify", "md5"),
        ("retries", -1),
        ("startup_wait", -1),
        ("startup_wait", ".inf"),
        ("stall_timeout", 0),
        ("fail_fast", "perhaps"),
        ("download_root", ""),
        ("download_root", 5),
        ("report", ["x"]),
        ("state_dir", ""),
    ],
)
def test_a_wrong_setting_is_told_by_its_line_and_key(name: str, value: object) -> None:
    text = yaml.safe_dump({name: value}) + "download_items: [{type: hf, repo_id: o/r}]\n"
    (message,) = refusal(text.replace("'.inf'", ".inf")).splitlines()
    assert message.startswith(f"c.yaml:1:1: {name}: ")


@pytest.mark.parametrize("name", ["deadline", "startup_wait", "stall_timeout"])
def test_a_duration_is_seconds_or_has_units(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for value, seconds in (("90", 90), (90, 90), ("90s", 90), ("1h", 3600), ("1h30m", 5400)):
        assert getattr(of(LEAST["hf"], **{name: value}).settings, name) == seconds
        monkeypatch.setenv(f"KAIWO_{name.upper()}", str(value))
        assert getattr(of(LEAST["hf"]).settings, name) == seconds
        monkeypatch.delenv(f"KAIWO_{name.upper()}")
    for wrong in ("soon", "1h30", "1x", ""):
        message = refusal(f"{name}: '{wrong}'\ndownload_items: [{{type: hf, repo_id: o/r}}]")
        assert message.startswith(f"c.yaml:1:1: {name}: must be seconds, or a duration such as 90s")
    for wrong in ("-1h", "nan", "inf"):
        assert f"c.yaml:1:1: {name}: " in refusal(
            f"{name}: '{wrong}'\ndownload_items: [{{type: hf, repo_id: o/r}}]"
        )
