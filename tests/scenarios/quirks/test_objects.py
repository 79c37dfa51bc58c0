"""What services state of objects, or leave out: the right bytes come, and are remembered.

``test_stores`` tries each kind of statement; these are the cases that need more than that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.objects import Report
from kaiwo.tasks.base import Engine
from tests.support import quirks_objects as quirks
from tests.support.bucket import upload_in_parts
from tests.support.command import tree
from tests.support.proxies import Answer, Spoil, refused, spoiling
from tests.support.stores import Store

MIB = 1 << 20
LARGE = random.Random(1).randbytes(17 * MIB)
NEW = random.Random(2).randbytes(17 * MIB)
OBJECTS = {"d/__init__.py": b"", "d/small": b"small", "d/model": LARGE}
PAST = 1_700_000_000

Fetch = Callable[..., Report]


class Asked:
    """Counts requests of objects that pass a proxy."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, method: str, path: str, answer: Answer) -> Answer:
        if path.count("/") > 1 and path.rstrip("/").count("/") > 1:
            self.lines.append(f"{method} {path}")
        return answer


@pytest.fixture
def fetch(tmp_path: Path, engine: Engine) -> Fetch:
    """A run into ``out``, in this process."""

    def run(store: Store, bucket: str, **options: Any) -> Report:
        task = store.task(bucket, [{"folder": "d", "target_path": "."}])
        config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
        return kaiwo.download(config, engine=engine, retries=1, **options)

    return run


def arrived(tmp_path: Path) -> dict[str, bytes]:
    return {f"d/{name}": data for name, data in tree(tmp_path / "out").items()}


FLIPPED: dict[str, Spoil] = {
    "upper case": quirks.upper_etags,
    "no etags in the listing": quirks.no_listed_etags,
    "HEAD refused with 405": quirks.head_refused(405),
    "no checksum mode": quirks.refusing_question(501, "x-amz-checksum-mode"),
}


@pytest.mark.parametrize("quirk", FLIPPED)
def test_a_flipped_byte_is_found(s3: Store, tmp_path: Path, fetch: Fetch, quirk: str) -> None:
    bucket = s3.new_bucket(OBJECTS)

    def flip(method: str, path: str, answer: Answer) -> Answer:
        if method != "GET" or not path.endswith("/d/model") or not answer.body:
            return answer
        return Answer(answer.status, answer.headers, b"x" + answer.body[1:])

    with spoiling(s3, quirks.combined(flip, FLIPPED[quirk])) as store:
        report = fetch(store, bucket)
    assert report.exit_code == 7
    assert "d/model" not in arrived(tmp_path)


def test_without_etags_a_replaced_object_is_fetched_again(
    tmp_path: Path, s3: Store, fetch: Fetch
) -> None:
    stamp = quirks.dated({b"SMALL": PAST + 1}, PAST)
    bucket = s3.new_bucket(OBJECTS)
    with spoiling(s3, quirks.combined(stamp, quirks.no_etags)) as store:
        fetch(store, bucket)
        s3.fill(bucket, {"d/small": b"SMALL"})
        again = fetch(store, bucket)
    assert (again.count("downloaded"), again.count("unchanged")) == (1, 2)
    assert arrived(tmp_path)["d/small"] == b"SMALL"


def test_without_etags_a_date_of_this_second_proves_nothing(
    tmp_path: Path, s3: Store, fetch: Fetch
) -> None:
    now = int(time.time())
    bucket = s3.new_bucket({"d/small": b"small"})
    with spoiling(s3, quirks.combined(quirks.dated({}, now + 60), quirks.no_etags)) as store:
        fetch(store, bucket)
        s3.fill(bucket, {"d/small": b"SMALL"})
        fetch(store, bucket)
    assert arrived(tmp_path) == {"d/small": b"SMALL"}


def test_without_etags_a_large_object_that_is_replaced_on_the_way_is_no_mixture(
    tmp_path: Path, s3: Store, fetch: Fetch
) -> None:
    bucket = s3.new_bucket({"d/model": LARGE})
    replaced: list[int] = []

    def replace_on_first_read(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith("/d/model") and not replaced:
            replaced.append(1)
            s3.fill(bucket, {"d/model": NEW})
        return answer

    stamp = quirks.dated({NEW: PAST + 1}, PAST)
    spoil = quirks.combined(replace_on_first_read, stamp, quirks.no_etags)
    with spoiling(s3, spoil) as store:
        report = fetch(store, bucket)
    assert (report.exit_code, arrived(tmp_path)) == (0, {"d/model": NEW})


def test_where_only_the_size_is_stated_nothing_is_a_mixture_and_all_is_fetched_again(
    tmp_path: Path, s3: Store, fetch: Fetch, engine: Engine
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    asked = Asked()
    spoil = quirks.combined(asked, quirks.no_etags, quirks.no_dates)
    with spoiling(s3, spoil) as store:
        assert fetch(store, bucket).ok
        assert arrived(tmp_path) == OBJECTS
        reads = [line for line in asked.lines if line.startswith("GET") and "model" in line]
        s3.fill(bucket, {"d/model": NEW})
        again = fetch(store, bucket)
        assert arrived(tmp_path)["d/model"] == NEW
        by_size = fetch(store, bucket, verify="size")
    assert again.count("downloaded") == len(OBJECTS)
    assert by_size.count("unchanged") == len(OBJECTS)
    # In one stream, and not in three ranges; the fast engine may have asked before.
    assert len(reads) <= 2, reads


def test_an_empty_object_that_is_filled_after_the_listing_is_no_placeholder(
    tmp_path: Path, s3: Store, fetch: Fetch
) -> None:
    bucket = s3.new_bucket(OBJECTS)

    def fill_after_listing(method: str, path: str, answer: Answer) -> Answer:
        if b"<ListBucketResult" in answer.body:
            s3.fill(bucket, {"d/__init__.py": b"filled"})
        return answer

    with spoiling(s3, fill_after_listing) as store:
        report = fetch(store, bucket)
    assert (report.exit_code, arrived(tmp_path)) == (0, OBJECTS | {"d/__init__.py": b"filled"})


@pytest.mark.parametrize("knows_parts", [True, False])
def test_an_object_in_parts_of_different_lengths_arrives(
    tmp_path: Path, s3: Store, fetch: Fetch, knows_parts: bool
) -> None:
    bucket = s3.new_bucket()
    # As many as equal parts of the first length would be.
    lengths = (6 * MIB, 5 * MIB + 1, 5 * MIB + 7)
    data = random.Random(3).randbytes(sum(lengths))
    upload_in_parts(s3, bucket, "d/streamed", data, lengths)
    seen: list[str] = []

    def refuse_parts_but_the_first(method: str, path: str, answer: Answer) -> Answer:
        if "partNumber" in answer.query:
            seen.append(answer.query)
            if not knows_parts and "partNumber=1" not in answer.query:
                return refused(501, "NotImplemented")
        return answer

    with spoiling(s3, refuse_parts_but_the_first) as store:
        report = fetch(store, bucket)
        (item,) = report.items
        assert (report.exit_code, arrived(tmp_path)) == (0, {"d/streamed": data})
        assert item.verified is knows_parts
        again = fetch(store, bucket)
    assert (again.count("unchanged"), again.transferred_bytes) == (1, 0)
    assert seen


def test_a_file_whose_head_states_no_bytes_arrives(
    tmp_path: Path, s3: Store, engine: Engine
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    with spoiling(s3, quirks.head_of_no_bytes) as store:
        items = [{"file": key, "target_path": key} for key in OBJECTS]
        task = store.task(bucket, items)
        config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
        report = kaiwo.download(config, engine=engine, retries=1)
    assert report.exit_code == 0
    assert tree(tmp_path / "out") == OBJECTS
