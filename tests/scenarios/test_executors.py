"""``executor=``: the bytes come by other processes, and all else is as on one machine."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.events import Event, Progressed
from kaiwo.remote import silence
from kaiwo.remote.calls import Call
from tests.support.command import tree
from tests.support.executors import Between
from tests.support.proxies import Answer, spoiling
from tests.support.slow_lines import Line
from tests.support.stores import Store
from tests.support.waiting import wait_until

MIB = 1 << 20
SMALL = {f"small/{number}": bytes([number]) * 1000 for number in range(12)}
LARGE = {"large": random.Random(3).randbytes(9 * MIB)}
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def config_of(store: Store, bucket: str, root: Path, **fields: Any) -> dict[str, Any]:
    items = [{"folder": "", "target_path": "."}]
    return {"download_root": f"{root}", "download_items": [store.task(bucket, items, **fields)]}


def published(root: Path) -> dict[str, bytes]:
    found = tree(root)
    return {name: data for name, data in found.items() if not name.startswith(".kaiwo")}


class Counting:
    """A sink that counts bytes."""

    def __init__(self) -> None:
        self.read = 0
        self.steps = 0

    def emit(self, event: Event) -> None:
        if isinstance(event, Progressed):
            self.read += event.read
            self.steps += 1


def test_other_processes_bring_the_bytes_and_a_second_run_asks_nobody(
    processes: Executor, s3: Store, tmp_path: Path
) -> None:
    objects = SMALL | LARGE
    bucket, between, sink = s3.new_bucket(objects), Between(processes), Counting()
    config = config_of(s3, bucket, tmp_path)
    report = kaiwo.download(config, executor=between, sink=sink)
    report.raise_for_failures()
    assert published(tmp_path) == objects
    assert os.listdir(tmp_path / ".kaiwo") == ["manifest.jsonl"]
    assert sink.read == report.transferred_bytes == sum(map(len, objects.values()))
    assert all(item.verified and item.attempts == 1 for item in report.items)
    # Nothing was read in this process.
    bringing = len(between.calls)
    assert bringing >= 3
    assert processes.submit(os.getpid).result(PATIENCE_S) != os.getpid()
    again = kaiwo.download(config, executor=between)
    assert {item.status for item in again.items} == {"unchanged"}
    assert len(between.calls) == bringing


def test_fetch_takes_an_executor(processes: Executor, s3: Store, tmp_path: Path) -> None:
    bucket, between = s3.new_bucket(SMALL), Between(processes)
    fields = {name: value for name, value in s3.fields.items() if value is not None}
    path = kaiwo.fetch(f"s3://{bucket}/small/", tmp_path / "x", executor=between, **fields)
    assert len(tree(path)) == len(SMALL)
    assert between.calls


@pytest.mark.parametrize("kind", ["threads", "forked"])
def test_any_executor_will_do(kind: str, s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket(SMALL | LARGE)
    pool: Executor = ThreadPoolExecutor(2)
    if kind == "forked":
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with pool:
        kaiwo.download(config_of(s3, bucket, tmp_path), executor=pool).raise_for_failures()
        assert pool.submit(pow, 2, 2).result(PATIENCE_S) == 4
    assert published(tmp_path) == SMALL | LARGE


def test_bytes_are_shown_while_a_job_is_under_way(
    processes: Executor, s3: Store, tmp_path: Path
) -> None:
    bucket, sink = s3.new_bucket({"slow": bytes(3 * MIB)}), Counting()
    with Line(rate=4 * MIB).before(s3) as slow:
        config = config_of(slow, bucket, tmp_path)
        kaiwo.download(config, executor=processes, sink=sink).raise_for_failures()
    assert sink.steps >= 3
    assert sink.read == 3 * MIB


def test_secrets_of_files_do_not_travel(processes: Executor, s3: Store, tmp_path: Path) -> None:
    secrets: dict[str, str | None] = {}
    for name in ("access_key_id", "secret_key"):
        path = tmp_path / name
        path.write_text(f"{s3.fields[name]}\n")
        secrets |= {name: None, f"{name}_file": str(path)}
    between = Between(processes)
    config = config_of(s3, s3.new_bucket(SMALL), tmp_path / "x", **secrets)
    kaiwo.download(config, executor=between).raise_for_failures()
    assert between.calls
    for call in between.calls:
        assert s3.fields["secret_key"].encode() not in call.packed
        assert "packed" not in repr(call)


def test_a_worker_that_is_gone_is_nobodys_failure(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket(SMALL | LARGE)
    with ThreadPoolExecutor(2) as pool:
        losing = Between(pool, loses=3)
        report = kaiwo.download(config_of(s3, bucket, tmp_path), executor=losing, retries=0)
    report.raise_for_failures()
    assert published(tmp_path) == SMALL | LARGE
    assert {item.attempts for item in report.items} == {1}


def test_an_object_that_takes_worker_after_worker_with_it_fails(s3: Store, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        losing = Between(pool, loses=100)
        config = config_of(s3, s3.new_bucket({"one": b"x"}), tmp_path)
        report = kaiwo.download(config, executor=losing)
    (item,) = report.failed
    assert report.exit_code == 5
    assert "11 workers in turn had it" in str(item.error)
    assert "the machine was taken away" in str(item.error)


def test_a_pool_that_breaks_ends_the_run_which_a_later_one_resumes(
    s3: Store, tmp_path: Path
) -> None:
    objects = {**LARGE, "last": b"x" * (9 * MIB)}
    bucket = s3.new_bucket(objects)
    config = config_of(s3, bucket, tmp_path)
    context = multiprocessing.get_context("spawn")

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and "last" in path:
            # When the other object is there.
            wait_until((tmp_path / "large").exists)
            os.kill(worker, signal.SIGKILL)
        return answer

    with ProcessPoolExecutor(2, mp_context=context) as pool, spoiling(s3, hold) as dangerous:
        worker = pool.submit(os.getpid).result(PATIENCE_S)
        with pytest.raises(kaiwo.ServiceError, match="does no more work") as raised:
            kaiwo.download(config_of(dangerous, bucket, tmp_path), executor=pool)
        assert raised.value.exit_code == 5
        assert ".." not in raised.value.message
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        report = kaiwo.download(config, executor=pool)
    assert report.ok
    assert published(tmp_path) == objects
    statuses = {os.path.basename(item.target): item.status for item in report.items}
    assert statuses["large"] == "unchanged"


def test_a_process_that_hangs_is_named_and_waited_for(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Longer than the time in which one that does not hang says so.
    monkeypatch.setattr(silence, "SILENT_S", 7.0)
    bucket, held = s3.new_bucket(SMALL), threading.Event()

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and "small/" in path:
            held.wait(PATIENCE_S)
        return answer

    def hang() -> None:
        wait_until(lambda: '["Busy",1]' in letters(tmp_path), "it gets no work", PATIENCE_S)
        os.kill(worker, signal.SIGSTOP)
        try:
            wait_until(lambda: f"-{worker}-" in caplog.text, "it is not named", PATIENCE_S)
        finally:
            os.kill(worker, signal.SIGCONT)
            held.set()

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool, spoiling(s3, hold) as slow:
        worker = pool.submit(os.getpid).result(PATIENCE_S)
        with ThreadPoolExecutor(1) as threads:
            hanging = threads.submit(hang)
            report = kaiwo.download(config_of(slow, bucket, tmp_path), executor=pool)
            hanging.result()
    report.raise_for_failures()
    assert published(tmp_path) == SMALL
    assert "has said nothing for 7 s" in caplog.text


def letters(root: Path) -> str:
    """What worker processes have said to the run."""
    return "".join(each.read_text() for each in root.glob(".kaiwo/run-*/*.jsonl"))


def test_nothing_is_published_once_the_run_is_over(
    processes: Executor, s3: Store, tmp_path: Path
) -> None:
    held, go = threading.Event(), threading.Event()

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and "small/" in path:
            held.set()
            go.wait(PATIENCE_S)
        return answer

    with spoiling(s3, hold) as slow:
        config = config_of(slow, s3.new_bucket(SMALL), tmp_path)
        try:
            report = kaiwo.download(config, executor=processes, deadline=3)
            assert report.exit_code == 8
            assert held.is_set()
        finally:
            go.set()
        # What was under way there ends, and what it was sent is not published.
        for _ in range(4):
            processes.submit(os.getpid).result(PATIENCE_S)
    assert published(tmp_path) == {}


def test_a_worker_without_the_download_root_is_said_to_lack_it(
    processes: Executor, s3: Store, tmp_path: Path
) -> None:
    nowhere = (f"{tmp_path}/elsewhere/.kaiwo/run-ab",)
    blind = Between(processes, lambda call: dataclasses.replace(call, folders=nowhere))
    with pytest.raises(kaiwo.KaiwoError, match="does not see the download root") as raised:
        kaiwo.download(config_of(s3, s3.new_bucket(SMALL), tmp_path), executor=blind)
    assert raised.value.exit_code == 6
    assert published(tmp_path) == {}


def test_a_worker_with_another_kaiwo_is_refused(
    processes: Executor, s3: Store, tmp_path: Path
) -> None:
    other = Between(processes, lambda call: dataclasses.replace(call, version="0.0.1"))
    with pytest.raises(kaiwo.ConfigError, match=r"this is 0\.0\.1|has kaiwo"):
        kaiwo.download(config_of(s3, s3.new_bucket(SMALL), tmp_path), executor=other)


def test_all_processes_together_keep_the_limit(
    processes: Executor, s3: Store, tmp_path: Path
) -> None:
    rate, line = 4_000_000, Line()
    objects = {f"{number}": bytes(1_000_000) for number in range(8)}
    with line.before(s3) as counted:
        config = config_of(counted, s3.new_bucket(objects), tmp_path)
        report = kaiwo.download(config, executor=processes, max_bandwidth=rate)
    report.raise_for_failures()
    assert line.sent == 8_000_000
    # The last object is sent ahead, into the buffers between the server and who waits; each process
    # alone would make it twice the rate.
    assert (line.sent - 1_000_000) / line.seconds <= 1.4 * rate


def warn() -> None:
    logging.getLogger("kaiwo.workers").warning("secret_key=%s from afar", "hush")


def test_warnings_of_workers_are_in_the_log_of_the_run(
    s3: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = s3.new_bucket(SMALL | LARGE)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:

        def warned(call: Call) -> Call:
            pool.submit(warn)
            return call

        config = config_of(s3, bucket, tmp_path)
        kaiwo.download(config, executor=Between(pool, warned)).raise_for_failures()
    (record, *_) = [each for each in caplog.records if "from afar" in each.getMessage()]
    assert record.name == "kaiwo.workers"
    assert "secret_key=*** from afar" in record.getMessage()
