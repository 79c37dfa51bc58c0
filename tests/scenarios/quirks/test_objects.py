"""What services state of objects, or leave out: the right bytes come, and are remembered."""

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


COMPLETE: dict[str, Spoil] = {
    "no etags in the listing": quirks.no_listed_etags,
    "other etags in the listing": quirks.combined(
        quirks.dated({}, PAST), quirks.other_listed_etags
    ),
    "size 0 for everything in the listing": quirks.listed_empty,
    "no etags": quirks.combined(quirks.dated({}, PAST), quirks.no_etags),
    "upper case": quirks.upper_etags,
    "no length in a HEAD": quirks.head_without_length,
    "HEAD refused with 405": quirks.head_refused(405),
    "HEAD refused with 403": quirks.head_refused(403, "AccessDenied"),
    "HEAD refused with 501": quirks.head_refused(501, "NotImplemented"),
    "no checksum mode": quirks.refusing_question(501, "x-amz-checksum-mode"),
    "no checksum mode, 400": quirks.refusing_question(400, "x-amz-checksum-mode"),
    "a name in Latin-1": quirks.with_headers(
        {"Content-Disposition": 'attachment; filename="Gr\xf6\xdfe"'}
    ),
    "metadata in UTF-8": quirks.with_headers({"x-amz-meta-name": "\xc3\xb6"}),
    "many headers": quirks.with_headers({f"x-amz-meta-{n}": f"{n}" for n in range(150)}),
    "long headers": quirks.with_headers({f"x-amz-meta-{n}": "x" * 2_000 for n in range(4)}),
    "odd dates": quirks.with_header("Last-Modified", "yesterday"),
    "empty dates": quirks.with_header("Last-Modified", ""),
    "odd dates of other kinds": quirks.with_headers({"Expires": "never", "Date": "now"}),
    "odd numbers": quirks.with_headers({"x-amz-meta-size": "x", "x-amz-mp-parts-count": "many"}),
    "no parts": quirks.refusing_question(500, "partNumber"),
}


@pytest.mark.parametrize("quirk", COMPLETE)
def test_everything_arrives_and_a_second_run_reads_nothing(
    tmp_path: Path, s3: Store, fetch: Fetch, quirk: str
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    with spoiling(s3, COMPLETE[quirk]) as store:
        first = fetch(store, bucket)
        assert (first.exit_code, arrived(tmp_path)) == (0, OBJECTS), first.items
        again = fetch(store, bucket)
    assert again.ok
    assert (again.count("unchanged"), again.transferred_bytes) == (len(OBJECTS), 0), again.items


@pytest.mark.parametrize(
    "quirk",
    ["upper case", "no etags in the listing", "HEAD refused with 405", "no checksum mode"],
)
def test_a_flipped_byte_is_found(s3: Store, tmp_path: Path, fetch: Fetch, quirk: str) -> None:
    bucket = s3.new_bucket(OBJECTS)

    def flip(method: str, path: str, answer: Answer) -> Answer:
        if method != "GET" or not path.endswith("/d/model") or not answer.body:
            return answer
        return Answer(answer.status, answer.headers, b"x" + answer.body[1:])

    with spoiling(s3, quirks.combined(flip, COMPLETE[quirk])) as store:
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
