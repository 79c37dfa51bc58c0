"""Executors that lose, refuse, drop or repeat what they were given, while somebody still works."""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import kaiwo
from kaiwo import checksums
from kaiwo.errors import UnfinishedError
from kaiwo.jobs import Batch, Range
from kaiwo.remote.calls import Answer as Done
from kaiwo.remote.calls import Call
from kaiwo.remote.ending import EndElsewhere
from kaiwo.remote.meeting import Meeting
from kaiwo.tasks.base import TaskOpener
from tests.support.executors import Between
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store
from tests.support.waiting import wait_until

MIB = 1 << 20
SMALL = {f"{number}": bytes([number]) * 1000 for number in range(6)}
LARGE = {"large": random.Random(3).randbytes(17 * MIB)}


def config_of(store: Store, objects: dict[str, bytes], root: Path) -> dict[str, Any]:
    items = [{"folder": "", "target_path": "x"}]
    task = store.task(store.new_bucket(objects), items)
    return {"download_root": f"{root}", "download_items": [task]}


def there(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "x").iterdir()}


class Answering(Executor):
    """Changes what comes back from another executor."""

    def __init__(self, to: Executor, change: Callable[[Call, Done], Done]) -> None:
        self.to = to
        self.change = change

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        """See ``Executor``."""
        (call,) = args
        return self.to.submit(lambda: self.change(call, function(call)))


def test_a_copy_of_a_lost_job_has_another_temporary_file(s3: Store, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        losing = Between(pool, loses=4)
        kaiwo.download(config_of(s3, SMALL, tmp_path), executor=losing).raise_for_failures()
    assert there(tmp_path) == SMALL
    jobs = [call.job()[0] for call in losing.calls]
    used = [each.temporary for job in jobs if isinstance(job, Batch) for each in job.transfers]
    assert len(used) > len(SMALL)
    assert len(set(used)) == len(used)


def test_what_a_lost_worker_writes_late_is_found(s3: Store, tmp_path: Path) -> None:
    stated = f"crc64nvme:{checksums.crc('crc64nvme', LARGE['large'], 0):016x}"
    items = [{"file": "large", "target_path": "x/large", "checksum": stated}]
    task = s3.task(s3.new_bucket(LARGE), items)
    config = {"download_root": f"{tmp_path}", "download_items": [task]}
    written: list[str] = []

    def noted(call: Call) -> Call:
        job, _ = call.job()
        if isinstance(job, Range):
            written.append(job.transfer.temporary)
        return call

    def late(call: Call, done: Done) -> Done:
        """The worker that was lost first wakes up, when all ranges have been sent for."""
        job, _ = call.job()
        if isinstance(job, Range) and len(written) == 4:
            descriptor = os.open(written[0], os.O_WRONLY)
            os.pwrite(descriptor, b"not its bytes", 0)
            os.close(descriptor)
        return done

    with ThreadPoolExecutor(1) as pool:
        losing = Between(Answering(pool, late), noted, loses=1)
        report = kaiwo.download(config, executor=losing)
    report.raise_for_failures()
    assert len(written) > 4  # they were read again
    assert there(tmp_path) == LARGE
    assert [item.verified for item in report.items] == [True]


def test_a_worker_that_took_the_run_for_dead_is_one_that_is_gone(s3: Store, tmp_path: Path) -> None:
    """The run's process was stopped for a minute, and goes on."""
    left = [3]

    def mistaken(call: Call, done: Done) -> Done:
        if not left[0]:
            return done
        left[0] -= 1
        error = UnfinishedError("the run is over")
        ended = tuple(replace(each, published=False, error=error) for each in done.outcomes)
        return dataclasses.replace(done, outcomes=ended)

    with ThreadPoolExecutor(2) as pool:
        report = kaiwo.download(
            config_of(s3, SMALL | LARGE, tmp_path), executor=Answering(pool, mistaken), retries=0
        )
    report.raise_for_failures()
    assert there(tmp_path) == SMALL | LARGE
    assert {item.attempts for item in report.items} == {1}


def test_after_a_failure_what_waits_in_the_executor_is_not_sent_again(
    s3: Store, tmp_path: Path
) -> None:
    objects = {f"{number}": bytes(2 * MIB) for number in range(8)}

    def refuse(method: str, _path: str, answer: Answer) -> Answer:
        if method != "GET" or b"<ListBucketResult" in answer.body:
            return answer
        # When the others wait.
        wait_until(lambda: len(between.calls) >= len(objects))
        return dataclasses.replace(answer, status=403, body=b"")

    with ThreadPoolExecutor(1) as pool, spoiling(s3, refuse) as refusing:
        between = Between(pool)
        config = config_of(refusing, objects, tmp_path)
        report = kaiwo.download(config, executor=between, fail_fast=True, max_workers=8)
    assert report.exit_code == 3
    assert len(between.calls) == len(objects)


class Refusing(Executor):
    """Cannot start its process."""

    def submit(self, _function: Callable[..., Any], /, *_args: Any, **_: Any) -> Future[Any]:
        """See ``Executor``."""
        raise BlockingIOError("Resource temporarily unavailable")


def test_an_executor_that_takes_nothing_is_named(s3: Store, tmp_path: Path) -> None:
    with pytest.raises(kaiwo.ServiceError, match="does no more work: BlockingIOError"):
        kaiwo.download(config_of(s3, SMALL, tmp_path), executor=Refusing())


def test_a_task_that_cannot_travel_is_named(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: TaskOpener) -> tuple[Any, ...]:
        raise TypeError("cannot pickle '_thread.lock' object")

    monkeypatch.setattr(TaskOpener, "__reduce__", refuse)
    with ThreadPoolExecutor(1) as pool, pytest.raises(kaiwo.ConfigError, match="picklable"):
        kaiwo.download(config_of(s3, SMALL, tmp_path), executor=pool)


def test_workers_of_a_killed_run_hear_of_its_end_from_any_run(s3: Store, tmp_path: Path) -> None:
    killed = Meeting("ab", [f"{tmp_path}"])
    worker = EndElsewhere(killed.folders[0])
    kaiwo.download(config_of(s3, SMALL, tmp_path)).raise_for_failures()
    assert worker.wait(5)
    assert os.listdir(tmp_path / ".kaiwo") == ["manifest.jsonl"]
