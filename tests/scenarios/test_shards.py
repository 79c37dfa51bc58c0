"""Several processes carry out one plan: each its part, and the last one checks the whole."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

import kaiwo
from kaiwo.api import locking
from kaiwo.api.orders import order_of
from kaiwo.api.report import Report
from kaiwo.config.document import Document
from kaiwo.config.loader import Config, build
from kaiwo.errors import ConfigError, IntegrityError, KaiwoError, exit_code_of
from kaiwo.events import Event, Planned
from kaiwo.reporting.displays import QuietSink
from kaiwo.shards import finished
from kaiwo.state import leftovers
from tests.servers import ROOT
from tests.support.bucket import client_of
from tests.support.command import succeeding, tree
from tests.support.signing import Signer
from tests.support.stores import Store
from tests.support.waiting import wait_until

MIB = 1 << 20
LARGE = random.Random(23).randbytes(24 * MIB - 1000)
SMALL = {f"d/{number:02}": random.Random(number).randbytes(MIB // 4) for number in range(12)}
OBJECTS = {**SMALL, "d/large": LARGE}
FEW = {f"d/{number}": bytes(100 + number) for number in range(6)}


@pytest.fixture(autouse=True)
def _elsewhere(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("JOB_COMPLETION_INDEX", "KAIWO_SHARDS"):
        monkeypatch.delenv(name, raising=False)


class Shards:
    """The shards of one configuration, one after the other in this process."""

    def __init__(self, store: Store, root: Path, objects: Mapping[str, bytes]) -> None:
        self.store, self.root = store, root
        self.objects = dict(objects)
        self.bucket = store.new_bucket(objects)
        items = [{"folder": "d", "target_path": "."}]
        self.config: dict[str, Any] = {"download_items": [store.task(self.bucket, items)]}

    def run(self, shard: str, **options: Any) -> Report:
        return kaiwo.download(
            self.config, progress="none", download_root=str(self.root), shard=shard, **options
        )

    @property
    def there(self) -> dict[str, bytes]:
        return {name: data for name, data in tree(self.root).items() if ".kaiwo" not in name}

    def assert_whole(self) -> None:
        expected = {name.removeprefix("d/"): data for name, data in self.objects.items()}
        assert self.there == expected


@pytest.fixture
def shards(s3: Store, tmp_path: Path) -> Shards:
    return Shards(s3, tmp_path / "root", OBJECTS)


@pytest.fixture
def few(s3: Store, tmp_path: Path) -> Shards:
    return Shards(s3, tmp_path / "root", FEW)


def noted(state: Path) -> int:
    """How far the first range is written that any journal of shared objects names."""
    lines = (each.read_bytes().splitlines() for each in state.glob("ranges-*"))
    whole = (line for some in lines for line in some if b'"part"' in line and line[-1:] == b"}")
    parts = [json.loads(line)["part"] for line in whole]
    return max((length for _, _, length in parts), default=0)


def load_mapping(config: Mapping[str, Any], **options: Any) -> Config:
    return build(Document("config", dict(config)), options, os.environ)


def checked(report: Report) -> bool:
    found: bool = report.to_dict()["shard"]["union_checked"]
    return found


def test_each_fetches_a_third_and_the_last_one_checks_the_whole(shards: Shards) -> None:
    reports = [shards.run(f"{index}/3") for index in (1, 0, 2)]
    assert [each.exit_code for each in reports] == [0, 0, 0]
    third = sum(map(len, OBJECTS.values())) / 3
    for each in reports:
        assert each.transferred_bytes == pytest.approx(third, rel=0.1)
        assert sum(item.bytes for item in each.items) == each.transferred_bytes
    assert [checked(each) for each in reports] == [False, False, True]
    shards.assert_whole()


def test_all_follow_the_plan_of_the_first_whatever_the_source_lists_meanwhile(
    shards: Shards,
) -> None:
    assert shards.run("0/2").ok
    shards.store.fill(shards.bucket, {"d/new": b"came later"})
    assert checked(shards.run("1/2"))
    shards.assert_whole()
    # What is finished gives way to a new plan, of which all that is in place is nobody's work.
    shards.objects["d/new"] = b"came later"
    reports = [shards.run(f"{index}/2") for index in range(2)]
    assert sum(each.transferred_bytes for each in reports) == len(b"came later")
    assert checked(reports[1])
    shards.assert_whole()


@pytest.mark.parametrize("provider", ["gcs", "azure", "hub"])
def test_other_stores_are_split_alike(
    provider: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = request.getfixturevalue(provider)
    objects = {"d/small": b"small", "d/large": LARGE[: 16 * MIB - 1000]}
    shards = Shards(store, tmp_path / "root", objects)
    if store.type == "hf":
        shards.config["download_items"][0]["cache_dir"] = str(shards.root)
    reports = [shards.run(f"{index}/2") for index in range(2)]
    assert [checked(each) for each in reports] == [False, True]
    assert all(7 * MIB < each.transferred_bytes < 9 * MIB for each in reports)
    if store.type != "hf":
        shards.assert_whole()
        return
    whole = kaiwo.fetch(f"hf://{shards.bucket}", cache_dir=str(tmp_path / "alone"), **store.fields)
    (snapshot,) = shards.root.glob("models--*/snapshots/*")
    assert tree(snapshot) == tree(whole)
    assert (shards.root / snapshot.relative_to(shards.root).parts[0] / "refs/main").exists()


def test_shards_that_start_together_follow_one_plan(shards: Shards) -> None:
    with ThreadPoolExecutor(3) as threads:
        reports = list(threads.map(lambda index: shards.run(f"{index}/3"), range(3)))
    assert {each.exit_code for each in reports} == {0}
    assert len({each.to_dict()["shard"]["plan"] for each in reports}) == 1
    assert any(map(checked, reports))
    shards.assert_whole()
    assert not list(shards.root.glob(".kaiwo-*"))


def test_a_shard_that_is_killed_resumes_its_part(shards: Shards, tmp_path: Path) -> None:
    config = tmp_path / "kaiwo.yaml"
    config.write_text(yaml.safe_dump({"download_root": str(shards.root), **shards.config}))
    command = [sys.executable, "-m", "kaiwo.downloader", str(config), "--shard=1/3"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        killed = subprocess.Popen([*command, "--max-bandwidth=4M"], cwd=ROOT, stderr=file)
    with killed:
        journals = shards.root / ".kaiwo"
        wait_until(lambda: noted(journals) > 2 * MIB or killed.poll() is not None)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL, log.read_text()
    reports = [shards.run(f"{index}/3") for index in (0, 2, 1)]
    assert [checked(each) for each in reports] == [False, False, True]
    third = sum(map(len, OBJECTS.values())) / 3
    assert 0 < reports[2].transferred_bytes < third - MIB
    assert {item.status for item in reports[2].items} >= {"resumed"}
    shards.assert_whole()


def test_with_a_job_a_shard_that_starts_again_belongs_to_the_same_run(few: Shards) -> None:
    assert few.run("0/2", shard_job="one").ok
    assert checked(few.run("1/2", shard_job="one"))
    few.store.fill(few.bucket, {"d/new": b"came later"})
    again = few.run("0/2", shard_job="one")
    assert (again.ok, again.transferred_bytes) == (True, 0)
    few.assert_whole()
    few.objects["d/new"] = b"came later"
    assert all(few.run(f"{index}/2", shard_job="two").ok for index in range(2))
    few.assert_whole()


def test_bytes_of_another_shard_that_the_file_system_lost_are_fetched_by_who_finishes(
    shards: Shards,
) -> None:
    assert shards.run("0/3").ok
    (shared,) = shards.root.glob(".kaiwo-*.part")
    assert shards.run("1/3").ok
    with shared.open("r+b") as file:
        file.seek(MIB)
        file.write(bytes(MIB))
    last = shards.run("2/3")
    assert checked(last)
    assert last.transferred_bytes > sum(map(len, OBJECTS.values())) / 3 + 7 * MIB
    shards.assert_whole()


@pytest.mark.parametrize("change", ["shards", "configuration", "replaced"])
def test_another_plan_is_an_error_of_integrity(shards: Shards, change: str) -> None:
    assert shards.run("0/2").ok
    if change == "configuration":
        shards.config["download_items"][0]["buckets"][0]["items"][0]["glob"] = "0*"
    (plan,) = shards.root.glob(".kaiwo/plan-*")
    before = plan.read_bytes()

    class Replacing:
        def emit(self, event: Event) -> None:
            if change == "replaced" and isinstance(event, Planned):
                plan.write_bytes(b"".join(plan.read_bytes().splitlines(keepends=True)[:1]))

    with pytest.raises(IntegrityError, match="the plan of all shards") as caught:
        shards.run("1/3" if change == "shards" else "1/2", sink=Replacing())
    assert exit_code_of(caught.value) == 7
    # What the first one has planned is still followed by those that are like it.
    plan.write_bytes(before)
    shards.config["download_items"][0]["buckets"][0]["items"][0].pop("glob", None)
    assert checked(shards.run("1/2"))
    shards.assert_whole()


def test_a_failure_is_that_of_its_shard_and_of_the_last_one(few: Shards) -> None:
    assert few.run("0/3").ok
    gone = min(few.objects.keys() - {f"d/{each}" for each in few.there})
    client_of(few.store).delete_object(Bucket=few.bucket, Key=gone)
    reports = {f"{index}/3": few.run(f"{index}/3") for index in (1, 2)}
    assert {each.exit_code for each in reports.values()} == {4}
    (failed,) = (shard for shard, each in reports.items() if each.failed)
    report = few.run("0/3")
    assert (report.exit_code, checked(report)) == (4, False)
    with pytest.raises(KaiwoError, match="start that one again"):
        report.raise_for_failures()
    few.store.fill(few.bucket, {gone: FEW[gone]})
    assert checked(few.run(failed))
    few.assert_whole()


def test_a_lock_is_the_plan(few: Shards, tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    config = load_mapping(few.config, download_root=str(few.root), lock_file=lock)
    locking.lock(replace(order_of(config), lock_file=lock), QuietSink())
    few.store.fill(few.bucket, {"d/new": b"came later"})
    reports = [few.run(f"{index}/2", locked=True, lock_file=lock) for index in (1, 0)]
    assert [checked(each) for each in reports] == [False, True]
    few.assert_whole()
    Path(lock).write_text(Path(lock).read_text() + " ")
    assert few.run("0/2", shard_job="x").ok
    with pytest.raises(IntegrityError, match="another configuration or lock"):
        few.run("1/2", shard_job="x", locked=True, lock_file=lock)


def test_a_plan_that_is_torn_is_made_again_and_one_that_names_other_keys_is_refused(
    few: Shards,
) -> None:
    assert few.run("0/2", shard_job="x").ok
    (path,) = few.root.glob(".kaiwo/plan-*")
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert few.run("1/2", shard_job="x").ok
    lines = path.read_text().replace('"d/0"', '"private/0"').splitlines(keepends=True)[:-1]
    end = hashlib.sha256("".join(lines).encode()).hexdigest()
    path.write_text("".join(lines) + f'{{"end":"{end}"}}\n')
    with pytest.raises(IntegrityError, match="private/0 is not what"):
        few.run("0/2", shard_job="x")


def test_more_shards_than_objects_and_no_object_at_all(s3: Store, tmp_path: Path) -> None:
    two = Shards(s3, tmp_path / "two", {"d/one": b"1", "d/two": b"22"})
    reports = [two.run(f"{index}/5") for index in range(5)]
    assert [len(each.items) for each in reports] == [1, 1, 0, 0, 0]
    assert checked(reports[-1])
    two.assert_whole()
    none = Shards(s3, tmp_path / "none", {"other": b""})
    assert {none.run(f"{index}/2").exit_code for index in range(2)} == {4}
    none.config["download_items"][0]["buckets"][0]["items"][0]["allow_empty"] = True
    assert checked([none.run(f"{index}/2") for index in range(2)][-1])


@pytest.mark.parametrize(
    ("options", "environment", "match"),
    [
        ({"shard": "3/3"}, {}, "counted from 0"),
        ({"shard": "1"}, {}, "I/N"),
        ({"shard": "0/2", "force": True}, {}, "exclude each other"),
        ({"shard": "0/2", "state_dir": "s"}, {}, "exclude each other"),
        ({"shard": "0/2", "write_lock": True, "lock_file": "x"}, {}, "exclude each other"),
        ({"shard": "0/2", "dask": "tcp://127.0.0.1:1"}, {}, "exclude each other"),
        ({"shard": "0/2", "executor": ThreadPoolExecutor(1)}, {}, "exclude each other"),
        ({}, {"KAIWO_SHARDS": "3"}, "completionMode: Indexed"),
        ({}, {"KAIWO_SHARDS": "3", "JOB_COMPLETION_INDEX": "3"}, "number of completions"),
    ],
)
def test_what_is_no_shard_is_refused(
    few: Shards,
    options: dict[str, Any],
    environment: dict[str, str],
    match: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=match):
        kaiwo.download(few.config, download_root=str(few.root), **options)
    assert not few.root.exists()


def test_the_pods_of_an_indexed_job_need_no_option(
    few: Shards,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.INFO, "kaiwo")
    metrics = tmp_path / "metrics"
    monkeypatch.setenv("KAIWO_SHARDS", "2")
    for index in "01":
        monkeypatch.setenv("JOB_COMPLETION_INDEX", index)
        report = kaiwo.download(few.config, download_root=str(few.root), metrics_file=metrics)
    assert report.to_dict()["shard"]["index"] == 1
    assert 'kaiwo_shard_info{shard="1/2"} 1' in metrics.read_text()
    assert "shard 0/2 made the plan" in caplog.text
    assert "shard 1/2: 3 of 6 objects" in caplog.text
    assert checked(report)
    few.assert_whole()


def test_what_shards_have_left_is_cleaned(shards: Shards) -> None:
    assert shards.run("0/3").ok
    left = leftovers.find(str(shards.root))
    assert not left.temporary
    assert {Path(each).name.partition("-")[0] for each in left.resumable} == {
        ".kaiwo",
        "plan",
        "ranges",
        "shard",
    }
    leftovers.remove(left)
    assert checked([shards.run(f"{index}/3") for index in (1, 2)][-1])
    leftovers.remove(leftovers.find(str(shards.root)))
    assert os.listdir(shards.root / ".kaiwo") == ["manifest.jsonl"]
    shards.assert_whole()


@pytest.mark.parametrize("field", [{"prune": True}, {"publish": "snapshot"}])
def test_what_needs_one_run_from_the_listing_to_the_end_is_refused(
    few: Shards, field: dict[str, Any]
) -> None:
    few.config["download_items"][0]["buckets"][0]["items"][0].update(field, target_path="sub")
    with pytest.raises(ConfigError, match="and shard exclude each other"):
        few.run("0/2")


def test_parts_of_an_object_that_was_replaced_are_of_no_use(shards: Shards) -> None:
    assert shards.run("0/3").ok
    shards.objects["d/large"] = LARGE[::-1]
    shards.store.fill(shards.bucket, {"d/large": LARGE[::-1]})
    failed = shards.run("1/3")
    assert [item.source.rpartition("/")[2] for item in failed.failed] == ["large"]
    assert failed.exit_code == 7
    assert "is not the one of the plan any more" in str(failed.failed[0].error)
    (shared,) = shards.root.glob(".kaiwo-*.part")
    assert shared.stat().st_size > 0
    leftovers.remove(leftovers.find(str(shards.root)), partial=True)
    assert not list(shards.root.glob(".kaiwo-*"))
    assert checked([shards.run(f"{index}/3") for index in range(3)][-1])
    shards.assert_whole()


def test_parts_of_an_object_that_a_run_for_all_has_brought_meanwhile_do_not_stay(
    shards: Shards,
) -> None:
    assert shards.run("0/2").ok
    assert list(shards.root.glob(".kaiwo-*"))
    kaiwo.download(shards.config, download_root=str(shards.root)).raise_for_failures()
    report = shards.run("1/2")
    assert (checked(report), report.transferred_bytes) == (True, 0)
    shards.assert_whole()
    assert not list(shards.root.glob(".kaiwo-*"))


def test_plans_of_other_jobs_go_some_time_after_their_end(
    few: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in ("finished", "unfinished"):
        assert few.run("0/2", shard_job=job).ok
    assert checked(few.run("1/2", shard_job="finished"))
    assert few.run("0/2", shard_job="next").ok
    assert len(list(few.root.glob(".kaiwo/plan-*"))) == 3
    monkeypatch.setattr(finished, "KEPT_S", -1.0)
    assert few.run("0/2", shard_job="later").ok
    assert len(list(few.root.glob(".kaiwo/plan-*"))) == 3
    assert checked(few.run("1/2", shard_job="unfinished"))


def test_the_last_shard_of_urls_prints_their_paths(few: Shards, tmp_path: Path) -> None:
    fields = [f"-o{name}={value}" for name, value in few.store.fields.items()]
    command = [sys.executable, "-m", "kaiwo", "fetch", f"s3://{few.bucket}/d/", str(few.root)]
    command += ["--progress=none", *fields]
    printed = [succeeding([*command, f"--shard={index}/2"], tmp_path, {}) for index in range(2)]
    assert printed == ["", f"{few.root}\n"]
    few.assert_whole()


def test_every_shard_checks_signatures_itself(s3: Store, tmp_path: Path) -> None:
    signer = Signer.new(tmp_path / "signer")
    files = {name.removeprefix("d/"): data for name, data in FEW.items()}
    signed = {**FEW, "d/model.sig": signer.bundle(files)}
    shards = Shards(s3, tmp_path / "root", signed)
    shards.config["download_items"][0]["signature"] = signer.field()
    assert checked([shards.run(f"{index}/2") for index in range(2)][-1])
    shards.assert_whole()
    assert shards.run("0/2").ok
    other = {**files, "0": b"not what the plan has"}
    s3.fill(shards.bucket, {"d/model.sig": signer.bundle(other)})
    with pytest.raises(IntegrityError, match="the signatures say now"):
        shards.run("1/2")
