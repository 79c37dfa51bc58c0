"""The same bytes under another etag or date in each answer: read by one request, and right."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.jobs import RANGE
from kaiwo.tasks.base import Engine
from tests.support.proxies import spoiling
from tests.support.quirks_replicas import (
    Headers,
    other_both,
    other_dates,
    other_etags,
    replicas,
    spoiled,
)
from tests.support.stores import Store

SIZES = [1_000, RANGE + 1_000]
each_size = pytest.mark.parametrize("size", SIZES, ids=["small", "large"])


def downloaded(task: dict[str, Any], root: Path, **options: Any) -> kaiwo.Report:
    config = {"download_items": [task], "download_root": str(root)}
    return kaiwo.download(config, retries=1, startup_wait=0, progress="none", **options)


def of_web(address: str) -> dict[str, Any]:
    return {"type": "url", "items": [{"file": address, "target_path": "a"}]}


@each_size
@pytest.mark.parametrize("headers", [other_etags, other_dates, other_both])
def test_a_file_of_several_web_servers_is_read_by_one_request(
    size: int, headers: Headers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = random.Random(size).randbytes(size)
    with replicas(lambda: data, headers) as address:
        report = downloaded(of_web(address), tmp_path)
        assert (report.ok, (tmp_path / "a").read_bytes()) == (True, data)
        (item,) = report.items
        assert (item.etag, item.verified) == (None, False)
        assert "states other etags or dates of an object in each answer" in caplog.text
        again = downloaded(of_web(address), tmp_path)
    # The date is the same each time, so it tells that nothing changed.
    is_dated = headers is other_etags
    assert [item.status for item in again.items] == ["unchanged" if is_dated else "downloaded"]


def test_a_file_that_is_another_one_in_each_answer_is_refused_in_the_end(tmp_path: Path) -> None:
    numbers = itertools.count(1)
    with replicas(lambda: bytes(RANGE + next(numbers)), other_both) as address:
        report = downloaded(of_web(address), tmp_path)
    assert report.exit_code == 7
    assert list(tmp_path.glob("a*")) == []


def test_a_file_that_changes_at_each_request_is_no_mixture(tmp_path: Path) -> None:
    numbers = itertools.count(1)
    size = 3 * RANGE
    with replicas(lambda: bytes([next(numbers) % 256]) * size, other_both) as address:
        report = downloaded(of_web(address), tmp_path)
    assert report.ok
    assert len(set((tmp_path / "a").read_bytes())) == 1


@each_size
@pytest.mark.parametrize("headers", [other_etags, other_both])
def test_an_object_of_several_gateways_is_read_by_one_request(
    s3: Store, engine: Engine, size: int, headers: Headers, tmp_path: Path
) -> None:
    data = random.Random(size).randbytes(size)
    bucket = s3.new_bucket({"k": data})
    with spoiling(s3, spoiled(headers), ignored={"if-match", "if-unmodified-since"}) as store:
        task = store.task(bucket, [{"folder": "", "target_path": "."}])
        report = downloaded(task, tmp_path, engine=engine)
    assert report.ok, report.items
    assert (tmp_path / "k").read_bytes() == data
