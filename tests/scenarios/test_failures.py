"""The report of a run, and what happens when some objects cannot be downloaded."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kaiwo import __version__
from tests.support.command import Kaiwo, tree
from tests.support.proxies import Answer, flipped, refused, spoiling
from tests.support.stores import Store

Json = dict[str, Any]
SUMMARY = {
    "version": int,
    "kaiwo_version": str,
    "started_at": str,
    "ended_at": str,
    "ok": bool,
    "exit_code": int,
    "seconds": float,
    "files": int,
    "bytes": int,
    "transferred_bytes": int,
    "downloaded": int,
    "unchanged": int,
    "resumed": int,
    "failed": int,
}
ITEM = {
    "task": str,
    "source": str,
    "target": str,
    "status": str,
    "bytes": int,
    "seconds": float,
    "attempts": int,
    "etag": str,
    "checksum": dict,
    "error": type(None),
}
#: In the order of what decides the exit code.
CODES = {"denied": 3, "missing": 4, "full": 6, "wrong": 7, "broken": 5}
#: No file can be made there, not even by root.
NOWHERE = "/proc/kaiwo"


def types(document: Mapping[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in document.items()}


def spoil(method: str, path: str, answer: Answer) -> Answer:
    """An object's name says what becomes of its bytes."""
    name = path.rpartition("/")[2]
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    if method != "GET" or answer.status >= 400 or is_json:
        return answer
    if name.startswith("denied"):
        return refused(403, "AccessDenied")
    if name.startswith("missing"):
        return refused(404, "NoSuchKey")
    if name.startswith("broken"):
        return refused(503, "ServiceUnavailable")
    return flipped(answer) if name.startswith("wrong") else answer


def whole(bucket: str, store: Store) -> Json:
    return {"download_items": [store.task(bucket, [{"folder": "", "target_path": "."}])]}


# --- the report -------------------------------------------------------------------------------


def test_the_report_has_exactly_the_promised_fields(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"a/1": b"one", "a/2": b"three"})
    task = s3.task(bucket, [{"folder": "a", "target_path": "x"}], name="my task")
    report = kaiwo({"download_items": [task]}).report
    assert types(report) == {**SUMMARY, "items": list}
    assert report["kaiwo_version"] == __version__
    started, ended = (datetime.fromisoformat(report[name]) for name in ("started_at", "ended_at"))
    # Each has milliseconds.
    assert (ended - started).total_seconds() == pytest.approx(report["seconds"], abs=0.002)
    assert abs((datetime.now(UTC) - ended).total_seconds()) < 60
    counts = {name: report[name] for name in SUMMARY if SUMMARY[name] in (int, bool)}
    assert counts == {
        "version": 1,
        "ok": True,
        "exit_code": 0,
        "files": 2,
        "bytes": 8,
        "transferred_bytes": 8,
        "downloaded": 2,
        "unchanged": 0,
        "resumed": 0,
        "failed": 0,
    }
    for item in report["items"]:
        assert types(item) == ITEM
        assert types(item["checksum"]) == {"algorithm": str, "value": str, "verified": bool}
    first = next(item for item in report["items"] if item["source"].endswith("/1"))
    md5 = "f97c5d29941bfb1b2fdab0874906ab82"
    assert first | {"seconds": 0} == {
        "task": "my task",
        "source": f"s3://{bucket}/a/1",
        "target": str(tmp_path / "out/x/1"),
        "status": "downloaded",
        "bytes": 3,
        "seconds": 0,
        "attempts": 1,
        "etag": md5,
        "checksum": {"algorithm": "md5", "value": md5, "verified": True},
        "error": None,
    }


def test_a_second_report_is_as_complete_as_the_first(kaiwo: Kaiwo, store: Store) -> None:
    bucket = store.new_bucket({"a": b"one"})
    config = whole(bucket, store)
    (first,), (second,) = (kaiwo(config).report["items"] for _ in range(2))
    assert (first.pop("status"), second.pop("status")) == ("downloaded", "unchanged")
    for item in (first, second):
        del item["seconds"], item["attempts"]
    assert first == second


def test_a_report_on_stdout_is_all_that_is_there(kaiwo: Kaiwo, s3: Store) -> None:
    bucket = s3.new_bucket({"a": b"one"})
    done = kaiwo(whole(bucket, s3), "--report", "-", "--log-level", "DEBUG")
    assert json.loads(done.stdout)["ok"] is True
    assert done.report == {}
    assert done.stderr != ""


def test_a_run_that_began_nothing_is_reported_too(kaiwo: Kaiwo, s3: Store) -> None:
    bucket = s3.new_bucket({"a": b"one", "a/b": b"two"})
    done = kaiwo(whole(bucket, s3))
    assert done.code == 2
    assert types(done.report) | {**SUMMARY, "items": list} == types(done.report)
    counts = (done.report["ok"], done.report["exit_code"], done.report["items"])
    assert counts == (False, 2, [])


def test_a_termination_message_is_short_and_names_the_first_failures(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({f"denied-{number:03}-{'long' * 40}": b"x" for number in range(40)})
    path = tmp_path / "termination-log"
    path.touch()
    with spoiling(s3, spoil) as store:
        done = kaiwo(whole(bucket, store), env={"KAIWO_TERMINATION_LOG": str(path)})
    assert (done.code, done.report["failed"]) == (3, 40)
    message = path.read_bytes()
    assert len(message) <= 4096
    told = json.loads(message)
    summary = {name: value for name, value in done.report.items() if name != "items"}
    assert {name: told[name] for name in summary} == summary
    assert "items" not in told
    assert b"denied-" in message
    assert b"credentials" in message


# --- some objects fail ------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 6))
def test_the_rest_is_finished_and_the_first_kind_of_failure_is_the_exit_code(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path, count: int
) -> None:
    kinds = list(CODES)[-count:]
    bucket = s3.new_bucket(
        {f"data/{kind}": kind.encode() for kind in kinds if kind != "full"}
        | {"data/good": b"good", "full": b"full", "other": b"other"}
    )
    items = [{"folder": "data", "target_path": "data"}, {"file": "other", "target_path": "other"}]
    if "full" in kinds:
        items.append({"file": "full", "target_path": f"{NOWHERE}/full"})
    with spoiling(s3, spoil) as store:
        done = kaiwo({"download_items": [store.task(bucket, items)]}, "--retries", "0")
    assert done.code == CODES[kinds[0]], done.stderr
    assert tree(tmp_path / "out") == {"data/good": b"good", "other": b"other"}
    assert (done.report["ok"], done.report["exit_code"]) == (False, done.code)
    assert (done.report["downloaded"], done.report["failed"]) == (2, count)
    failed = {
        item["source"].rpartition("/")[2]: item
        for item in done.report["items"]
        if item["status"] == "failed"
    }
    assert set(failed) == set(kinds)
    names = {
        "denied": "credentials",
        "missing": "not_found",
        "full": "disk",
        "wrong": "integrity",
        "broken": "service",
    }
    for kind, item in failed.items():
        assert types(item["error"]) == {"kind": str, "message": str}
        assert item["error"]["kind"] == names[kind]
        assert item["error"]["message"] in done.stderr
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_failure_names_its_task_its_object_and_its_target(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket(dict.fromkeys(CODES, b"bytes"))
    targets = {
        kind: f"{NOWHERE if kind == 'full' else tmp_path}/target-of-{kind}" for kind in CODES
    }
    items = [{"file": kind, "target_path": target} for kind, target in targets.items()]
    with spoiling(s3, spoil) as store:
        task = store.task(bucket, items, name="my task")
        done = kaiwo({"download_items": [task]}, "--retries", "0")
    found = {item["source"]: item["target"] for item in done.report["items"]}
    assert found == {f"s3://{bucket}/{kind}": target for kind, target in targets.items()}
    lines = [line for line in done.stderr.splitlines() if "failed:" in line]
    for source, target in found.items():
        (line,) = (line for line in lines if target in line)
        assert source in line
        assert "my task" in line


def test_a_missing_bucket_and_a_missing_object_do_not_stop_the_others(
    kaiwo: Kaiwo, store: Store, tmp_path: Path
) -> None:
    bucket = store.new_bucket({"a": b"1"})
    items = [{"file": name, "target_path": name} for name in ("a", "not-there")]
    items.append({"folder": "empty", "target_path": "empty"})
    nobodys = store.task("no-such-bucket-here", [{"folder": "x", "target_path": "x"}])
    done = kaiwo({"download_items": [store.task(bucket, items), nobodys]})
    assert (done.code, done.report["downloaded"], done.report["failed"]) == (4, 1, 3)
    assert tree(tmp_path / "out") == {"a": b"1"}
    for name in ("not-there", "empty", "no-such-bucket-here"):
        assert name in done.stderr
    assert re.search(r"config\.yaml:\d+: download_items\[0\]\.\w+\[0\]\.items\[1\]", done.stderr)


def test_what_may_be_missing_is_no_failure(kaiwo: Kaiwo, store: Store) -> None:
    bucket = store.new_bucket({"a": b"1"})
    items = [
        {"folder": "empty", "target_path": "empty", "allow_empty": True},
        {"folder": "", "glob": "*.csv", "target_path": "csv", "allow_empty": True},
        {"file": "not-there", "target_path": "file", "allow_empty": True},
    ]
    done = kaiwo({"download_items": [store.task(bucket, items)]})
    assert (done.code, done.report["files"]) == (0, 0), done.stderr


def test_wrong_credentials_fail_their_own_task_only(
    kaiwo: Kaiwo, s3: Store, s3_signed: Store, tmp_path: Path
) -> None:
    secret = "not-the-secret-of-this-user"
    bad = s3_signed.task(
        s3_signed.new_bucket({"a": b"1"}),
        [{"folder": "", "target_path": "bad"}],
        secret_key=secret,
        name="the bad one",
    )
    good = s3.task(s3.new_bucket({"b": b"2"}), [{"folder": "", "target_path": "good"}])
    done = kaiwo({"download_items": [bad, good]}, "--log-level", "DEBUG")
    assert (done.code, tree(tmp_path / "out")) == (3, {"good/b": b"2"})
    (item,) = (item for item in done.report["items"] if item["status"] == "failed")
    assert (item["task"], item["error"]["kind"]) == ("the bad one", "credentials")
    assert secret not in done.stderr + json.dumps(done.report)


def test_fail_fast_ends_at_the_first_failure(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    objects = {f"good-{number}": bytes(2_000_000) for number in range(4)}
    bucket = s3.new_bucket(objects | {"denied": bytes(3_000_000)})
    with spoiling(s3, spoil) as store:
        done = kaiwo(whole(bucket, store), "--fail-fast", "--max-workers", "1")
        assert (done.code, done.report["failed"]) == (3, 5)
        assert tree(tmp_path / "out") == {}
        assert kaiwo(whole(bucket, store), "--max-workers", "1").report["downloaded"] == 4
    assert tree(tmp_path / "out") == objects


def test_fail_fast_reports_a_listing_that_failed(kaiwo: Kaiwo, s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"a": b"1"})
    tasks = [
        s3.task(name, [{"folder": "", "target_path": "."}])
        for name in (bucket, "no-such-bucket-here")
    ]
    done = kaiwo({"download_items": tasks}, "--fail-fast")
    assert (done.code, tree(tmp_path / "out")) == (4, {})
    assert (done.report["ok"], done.report["exit_code"]) == (False, 4)


# --- wrong bytes ------------------------------------------------------------------------------


def test_wrong_bytes_of_the_right_size_never_reach_the_target(
    kaiwo: Kaiwo, store: Store, tmp_path: Path
) -> None:
    objects = {f"wrong-{size}": random.Random(size).randbytes(size) for size in (1_000, 9_000_000)}
    bucket = store.new_bucket(objects | {"good": b"good"})
    with spoiling(store, spoil) as spoilt:
        done = kaiwo(whole(bucket, spoilt))
        assert done.code == 7, done.stderr
        assert tree(tmp_path / "out") == {"good": b"good"}
        failed = [item for item in done.report["items"] if item["status"] == "failed"]
        assert {item["source"].rpartition("/")[2] for item in failed} == set(objects)
        assert sorted(item["attempts"] for item in failed) == [2, 3]
        accepted = kaiwo(whole(bucket, spoilt), "--verify", "size")
    assert accepted.code == 0, accepted.stderr
    for name, data in objects.items():
        found = (tmp_path / "out" / name).read_bytes()
        assert len(found) == len(data)
        assert found != data
    right = kaiwo(whole(bucket, store))
    assert right.code == 0, "a checksum is asked for again"
    assert tree(tmp_path / "out") == objects | {"good": b"good"}


def test_bytes_that_are_wrong_once_are_fetched_once_more(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"wrong": b"right bytes"})
    met = list[str]()

    def spoil_once(method: str, path: str, answer: Answer) -> Answer:
        if method != "GET" or not path.endswith("/wrong"):
            return answer
        met.append(path)
        return flipped(answer) if len(met) == 1 else answer

    with spoiling(s3, spoil_once) as store:
        done = kaiwo(whole(bucket, store))
    assert (done.code, tree(tmp_path / "out")) == (0, {"wrong": b"right bytes"})
    (item,) = done.report["items"]
    assert (item["status"], item["attempts"]) == ("downloaded", 2)
    assert done.report["transferred_bytes"] == 22


def test_an_object_that_is_replaced_after_its_listing_is_fetched_as_it_is_now(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    old, new = b"o" * 9_000_000, b"n" * 9_000_000
    bucket = s3.new_bucket({"large": old, "small": b"small"})

    def replace_on_first_read(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith("/large"):
            s3.fill(bucket, {"large": new})
        return replace(answer)

    with spoiling(s3, replace_on_first_read) as store:
        done = kaiwo(whole(bucket, store), "--max-workers", "1")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"large": new, "small": b"small"}
    assert "replaced" in done.stderr
