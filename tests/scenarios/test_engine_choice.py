"""Which engine reads a task: what is asked for, and what each can express."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Kaiwo, tree
from tests.support.engines import ALL, BIG, CANARY, NOWHERE, QUICK, chosen
from tests.support.stores import Store

pytestmark = pytest.mark.usefixtures("loopback_only")


@pytest.mark.parametrize(
    ("option", "variable", "in_file", "expected"),
    [
        (None, None, None, "obstore"),
        ("auto", None, None, "obstore"),
        ("fsspec", None, None, "fsspec"),
        ("OBSTORE", None, None, "obstore"),
        (None, "fsspec", None, "fsspec"),
        (None, None, "fsspec", "fsspec"),
        (None, "obstore", "fsspec", "obstore"),
        ("fsspec", "obstore", "obstore", "fsspec"),
    ],
)
def test_the_engine_is_the_options_else_the_environments_else_the_files(
    kaiwo: Kaiwo,
    s3: Store,
    tmp_path: Path,
    option: str | None,
    variable: str | None,
    in_file: str | None,
    expected: str,
) -> None:
    config: dict[str, Any] = {"download_items": [s3.task(s3.new_bucket({"k": b"data"}), ALL)]}
    config |= {"engine": in_file} if in_file else {}
    options = ("--engine", option) if option else ()
    env = {"KAIWO_ENGINE": variable} if variable else {}
    done = kaiwo(config, *QUICK, *options, "--log-level", "DEBUG", env=env)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": b"data"}
    (line,) = chosen(done)
    assert " DEBUG " in line
    assert f"is read through {expected}, " in line


@pytest.mark.parametrize("place", ["option", "variable", "file"])
def test_an_unknown_engine_is_a_fault_of_the_configuration(
    kaiwo: Kaiwo, tmp_path: Path, place: str
) -> None:
    task = {"type": "s3", "buckets": [{"name": "bucket", "items": ALL}]}
    config: dict[str, Any] = {"download_items": [task]}
    config |= {"engine": "warp"} if place == "file" else {}
    options = ("--engine", "warp") if place == "option" else ()
    done = kaiwo(config, *options, env={"KAIWO_ENGINE": "warp"} if place == "variable" else {})
    assert (done.code, done.stdout) == (2, "")
    assert "engine" in done.stderr.lower()
    assert "obstore" in done.stderr
    assert not (tmp_path / "out").exists()


def test_at_debug_each_task_says_once_which_engine_reads_it_and_why(
    kaiwo: Kaiwo, s3: Store, azure: Store, gcs: Store, tmp_path: Path
) -> None:
    objects = {f"k{number}": b"data" * 100 for number in range(40)}
    tasks = [
        store.task(store.new_bucket(objects), [{"folder": "", "target_path": store.type}])
        for store in (s3, azure, gcs)
    ]
    done = kaiwo({"download_items": tasks}, *QUICK, "--log-level", "DEBUG")
    assert done.code == 0, done.stderr
    lines = chosen(done)
    assert len(lines) == len(tasks)
    for url in ("s3://", "az://", "gs://"):
        (line,) = (line for line in lines if url in line)
        assert "which supports all its fields" in line


def test_at_info_nothing_is_said_of_an_engine_that_can_do_it_all(
    kaiwo: Kaiwo, s3: Store, azure: Store, gcs: Store
) -> None:
    tasks = [
        store.task(store.new_bucket({"k": b"data"}), [{"folder": "", "target_path": store.type}])
        for store in (s3, azure, gcs)
    ]
    done = kaiwo({"download_items": tasks}, *QUICK)
    assert done.code == 0, done.stderr
    assert chosen(done) == []


FALLBACKS: dict[str, tuple[dict[str, bytes], dict[str, str], str]] = {
    "a stray variable": ({"k": b"1"}, {"AWS_SSE_CUSTOMER_KEY_BASE64": CANARY}, "AWS_SSE_CUSTOMER"),
    "another stray variable": (
        {"k": b"1"},
        {"aws_server_side_encryption": CANARY},
        "aws_server_side_encryption",
    ),
    "a double slash": ({"a//b": b"1", "c": b"2"}, {}, "cannot name"),
    "a leading slash": ({"/x": b"no", "y": b"2"}, {}, "begin with a slash"),
    "many empty objects": ({f"e/{n:03}": b"" for n in range(120)} | {"f": b"1"}, {}, "empty"),
}


@pytest.mark.parametrize("why", FALLBACKS)
def test_auto_falls_back_with_one_line_of_info_and_succeeds(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path, why: str
) -> None:
    objects, env, words = FALLBACKS[why]
    items = [{"folder": "", "glob": "y", "target_path": "."}] if "/x" in objects else ALL
    done = kaiwo({"download_items": [s3.task(s3.new_bucket(objects), items)]}, *QUICK, env=env)
    assert done.code == 0, done.stderr
    expected = [data for key, data in objects.items() if key != "/x"]
    assert sorted(tree(tmp_path / "out").values()) == sorted(expected)
    (line,) = chosen(done)
    assert " INFO " in line
    assert words in line
    assert CANARY not in done.stderr


def test_a_server_that_answers_ranges_oddly_is_told_of_once(
    kaiwo: Kaiwo, rclone: Store, tmp_path: Path
) -> None:
    data = random.Random(2).randbytes(40 << 20)
    done = kaiwo({"download_items": [rclone.task(rclone.new_bucket({"k": data}), ALL)]}, *QUICK)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": data}
    (line,) = chosen(done)
    assert " INFO " in line
    assert "ranges" in line


def test_a_service_that_speaks_json_only_is_told_of_once(
    kaiwo: Kaiwo, gcs_emulator: Store, tmp_path: Path
) -> None:
    objects = {f"k{number}": b"data" * number for number in range(1, 40)} | {"big": BIG}
    done = kaiwo(
        {"download_items": [gcs_emulator.task(gcs_emulator.new_bucket(objects), ALL)]}, *QUICK
    )
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == objects
    (line,) = chosen(done)
    assert " INFO " in line


@pytest.mark.parametrize(
    ("fields", "bucket", "env", "words"),
    [
        ({"endpoint_url": None, "region": None}, "bucket", {}, "region"),
        ({"endpoint_url": None, "region": "xx-nowhere-1"}, "bucket", {}, "xx-nowhere-1"),
        ({}, "data--use1-az4--x-s3", {}, "bucket name"),
        ({}, "arn:aws:s3:us-east-1:123456789012:accesspoint:mine", {}, "bucket name"),
        ({}, "bucket", {"AWS_SSE_CUSTOMER_KEY_BASE64": CANARY}, "AWS_SSE_CUSTOMER_KEY_BASE64"),
        ({"endpoint_url": None}, "bucket", {"AWS_USE_FIPS_ENDPOINT": "true"}, "use_fips_endpoint"),
    ],
)
def test_obstore_by_name_refuses_what_it_cannot_express(
    kaiwo: Kaiwo,
    s3: Store,
    tmp_path: Path,
    fields: dict[str, Any],
    bucket: str,
    env: dict[str, str],
    words: str,
) -> None:
    task = s3.task(bucket, ALL, **fields)
    done = kaiwo({"download_items": [task]}, *QUICK, "--engine", "obstore", env=NOWHERE | env)
    assert (done.code, done.stdout) == (2, ""), done.stderr
    assert "cannot be read through obstore" in done.stderr
    assert words in done.stderr
    assert CANARY not in done.stderr
    assert tree(tmp_path / "out") == {}
