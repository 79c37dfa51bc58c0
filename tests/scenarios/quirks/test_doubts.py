"""Listed objects that may be no files: the store is asked once, and later runs ask nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api.orders import order_of
from kaiwo.api.run import decide
from kaiwo.config.document import Document
from kaiwo.config.loader import build
from kaiwo.objects import Report
from kaiwo.tasks.base import Engine
from tests.support import quirks_objects as quirks
from tests.support.bucket import client_of
from tests.support.command import tree
from tests.support.faulty import RecordingSink
from tests.support.proxies import Answer, Spoil, refused, spoiling
from tests.support.quirks_folders import put_object
from tests.support.stores import Store

MARKER = "application/x-directory"
BINARY = "application/octet-stream"
PAST = 1_700_000_000
FILES = {"d/a": b"a", "d/empty": b"", "d/deep/b": b"b", "d/marked/c": b"c", "d/deep/none": b""}

Fetch = Callable[..., Report]


class Asked:
    """The requests of objects that pass a proxy."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, method: str, path: str, answer: Answer) -> Answer:
        if "/d/" in path:
            self.lines.append(f"{method} {path}")
        return answer

    def take(self) -> list[str]:
        """Those since the last call."""
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def fetch(tmp_path: Path, engine: Engine) -> Fetch:
    """A run into ``out``, in this process."""

    def run(store: Store, bucket: str, glob: str = "**/*", **options: Any) -> Report:
        task = store.task(bucket, [{"folder": "d", "target_path": ".", "glob": glob}])
        config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
        return kaiwo.download(config, engine=engine, retries=1, **options)

    return run


def arrived(tmp_path: Path) -> dict[str, bytes]:
    return {f"d/{name}": data for name, data in tree(tmp_path / "out").items()}


def doubtful_bucket(store: Store) -> str:
    """Files, placeholders with and without bytes, markers with and without keys below them."""
    bucket = store.new_bucket(FILES)
    for key in ("d/deep/", "d/lonely/"):
        put_object(store, bucket, key, BINARY)
    for key in ("d/full/", "d/alone/full/"):
        put_object(store, bucket, key, BINARY, data=b"not a file")
    for key in ("d/marked", "d/deep/mark"):
        put_object(store, bucket, key, MARKER)
    return bucket


STORES: dict[str, Spoil] = {
    "plain": quirks.combined(),
    "no etags in the listing": quirks.combined(quirks.dated({}, PAST), quirks.no_listed_etags),
    "other etags in the listing": quirks.combined(
        quirks.dated({}, PAST), quirks.other_listed_etags
    ),
    "size 0 for everything in the listing": quirks.listed_empty,
}


@pytest.mark.parametrize("quirk", STORES)
def test_a_second_run_asks_nothing(tmp_path: Path, s3: Store, fetch: Fetch, quirk: str) -> None:
    bucket = doubtful_bucket(s3)
    asked = Asked()
    with spoiling(s3, quirks.combined(asked, STORES[quirk])) as store:
        assert fetch(store, bucket).exit_code == 0
        assert arrived(tmp_path) == FILES
        assert asked.take()
        again = fetch(store, bucket)
        assert asked.take() == []
    assert (again.exit_code, again.count("unchanged")) == (0, len(FILES))
    assert arrived(tmp_path) == FILES


def test_force_asks_again(tmp_path: Path, s3: Store, fetch: Fetch) -> None:
    bucket = doubtful_bucket(s3)
    asked = Asked()
    with spoiling(s3, asked) as store:
        assert fetch(store, bucket).exit_code == 0
        at_first = sorted(asked.take())
        assert fetch(store, bucket, force=True).exit_code == 0
        assert sorted(asked.take()) == at_first
        assert fetch(store, bucket).exit_code == 0
        assert asked.take() == []
    assert arrived(tmp_path) == FILES


def test_a_plan_remembers_nothing(tmp_path: Path, s3: Store) -> None:
    bucket = doubtful_bucket(s3)
    task = s3.task(bucket, [{"folder": "d", "target_path": "."}])
    document = {"download_root": str(tmp_path / "out"), "download_items": [task]}
    decision = decide(order_of(build(Document("test", document), {})), RecordingSink())
    assert len(decision.plan.transfers) >= len(FILES)
    assert not (tmp_path / "out").exists()


def test_what_nobody_wants_is_not_asked_about(tmp_path: Path, s3: Store, fetch: Fetch) -> None:
    bucket = s3.new_bucket({f"d/{number}/_SUCCESS": b"" for number in range(3)} | {"d/a.csv": b"a"})
    asked = Asked()
    with spoiling(s3, asked) as store:
        assert fetch(store, bucket, "**/*.csv").exit_code == 0
    assert arrived(tmp_path) == {"d/a.csv": b"a"}
    assert not any("_SUCCESS" in line for line in asked.lines)


def test_a_placeholder_that_is_a_file_now_arrives(tmp_path: Path, s3: Store, fetch: Fetch) -> None:
    """All empty objects have one etag: the date tells that it is another one."""
    bucket = s3.new_bucket({"d/a": b"a", "d/x/": b"", "d/y/": b"bytes"})
    put_object(s3, bucket, "d/z", MARKER)
    then = quirks.dated({}, PAST)
    with spoiling(s3, then) as store:
        assert fetch(store, bucket).exit_code == 0
        assert fetch(store, bucket).exit_code == 0
    assert arrived(tmp_path) == {"d/a": b"a"}
    for key in ("d/x/", "d/y/", "d/z"):
        client_of(s3).delete_object(Bucket=bucket, Key=key)
    now = {"d/a": b"a", "d/x": b"", "d/y": b"bytes", "d/z": b""}
    s3.fill(bucket, now)
    with spoiling(s3, quirks.dated({}, PAST + 1)) as store:
        report = fetch(store, bucket)
        assert (report.exit_code, arrived(tmp_path)) == (0, now)
        again = fetch(store, bucket)
    assert (again.exit_code, again.count("unchanged")) == (0, len(now))


def test_a_bucket_with_other_dates_is_asked_about_once(
    tmp_path: Path, s3: Store, fetch: Fetch
) -> None:
    bucket = doubtful_bucket(s3)
    asked = Asked()
    for moment in (PAST, PAST + 100):
        with spoiling(s3, quirks.combined(asked, quirks.dated({}, moment))) as store:
            assert fetch(store, bucket).exit_code == 0
            assert asked.take()
            again = fetch(store, bucket)
            assert (again.exit_code, again.count("unchanged")) == (0, len(FILES))
            assert asked.take() == []


def test_an_empty_file_that_is_not_found_once_is_no_placeholder(
    tmp_path: Path, s3: Store, fetch: Fetch
) -> None:
    """Only a look-up that finds the folder shows that it is one."""
    bucket = s3.new_bucket(FILES)
    missed: list[str] = []

    def miss_once(method: str, path: str, answer: Answer) -> Answer:
        if method == "HEAD" and path.endswith("/empty") and not missed:
            missed.append(path)
            return refused(404, "NoSuchKey")
        return answer

    with spoiling(s3, miss_once) as store:
        report = fetch(store, bucket)
    assert (report.exit_code, arrived(tmp_path)) == (0, FILES)


def test_an_empty_file_that_is_gone_is_missing(
    tmp_path: Path, s3: Store, fetch: Fetch, engine: Engine
) -> None:
    bucket = s3.new_bucket(FILES)

    def hide(method: str, path: str, answer: Answer) -> Answer:
        return refused(404, "NoSuchKey") if path.rstrip("/").endswith("/empty") else answer

    with spoiling(s3, hide) as store:
        report = fetch(store, bucket)
    assert report.exit_code == kaiwo.NotFoundError.exit_code
    (failed,) = (item for item in report.items if item.error is not None)
    assert failed.source.endswith("d/empty")
