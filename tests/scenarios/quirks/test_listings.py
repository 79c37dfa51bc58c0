"""Listings of services that do not say as they should whether more follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from kaiwo.errors import BusyError, ServiceError
from kaiwo.tasks.base import Engine
from tests.support.command import Kaiwo
from tests.support.engines import opened
from tests.support.proxies import Answer, refused, spoiling
from tests.support.quirks_listings import (
    Quirk,
    element,
    first_version_only,
    in_listings,
    pages_of,
    without_tokens,
)
from tests.support.stores import Store

#: The empty segment: only the fsspec source lists such a bucket.
PLAIN = {f"d/{number:02}": b"x" for number in range(25)}
ODD = {**PLAIN, "d/a//b": b"x"}


@pytest.fixture(scope="module")
def plain(s3: Store) -> str:
    return s3.new_bucket(PLAIN)


@pytest.fixture(scope="module")
def odd(s3: Store) -> str:
    return s3.new_bucket(ODD)


def listed(
    store: Store, bucket: str, engine: Engine, *quirks: Quirk, ignored: Sequence[str] = ()
) -> list[str]:
    """The keys of a bucket whose listings come in pages of ten, without these parameters."""
    with (
        spoiling(store, in_listings(*quirks), pages_of(10, *ignored)) as by_way,
        opened(by_way, bucket, engine) as source,
    ):
        return [remote.key for remote in source.list("d/")]


@pytest.mark.parametrize(
    "quirk",
    [
        element("IsTruncated", None),
        element("IsTruncated", "True"),
        element("IsTruncated", "1"),
        element("IsTruncated", "false"),
        element("IsTruncated", ""),
        element("IsTruncated", "true", "isTruncated"),
        element("KeyCount", None),
        element("NextContinuationToken", None),
        element("NextContinuationToken", ""),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_listing_is_whole_whatever_its_pages_say(
    s3: Store, plain: str, odd: str, engine: Engine, quirk: Quirk, version: int
) -> None:
    quirks = [quirk] if version == 2 else [quirk, first_version_only(501, "NotImplemented")]
    assert listed(s3, plain, engine, *quirks) == sorted(PLAIN)
    assert listed(s3, odd, engine, *quirks) == sorted(ODD)


def test_a_listing_without_any_word_of_more_is_whole(
    s3: Store, plain: str, odd: str, engine: Engine
) -> None:
    quirks = (without_tokens, element("IsTruncated", None))
    assert listed(s3, plain, engine, *quirks) == sorted(PLAIN)
    assert listed(s3, odd, engine, *quirks) == sorted(ODD)


def test_the_end_is_checked_by_the_other_version_too(s3: Store, plain: str, odd: str) -> None:
    quirks = (without_tokens, element("IsTruncated", "false"))
    for bucket, keys in ((plain, PLAIN), (odd, ODD)):
        found = listed(s3, bucket, "fsspec", *quirks, ignored=["start-after"])
        assert found == sorted(keys)


def test_a_service_that_cannot_begin_after_a_key_is_believed_if_it_states_the_end(
    s3: Store, plain: str, engine: Engine
) -> None:
    ignored = ("start-after", "marker")
    assert listed(s3, plain, engine, ignored=ignored) == sorted(PLAIN)
    quirks = (without_tokens, element("IsTruncated", None))
    with pytest.raises(ServiceError, match="does not say whether more follows"):
        listed(s3, plain, engine, *quirks, ignored=ignored)


@pytest.mark.parametrize(
    ("engine", "status"),
    # To obstore, each 500 may pass.
    [("fsspec", 403), ("obstore", 403), ("fsspec", 500)],
)
def test_a_service_that_fails_on_a_key_in_a_query_is_believed(
    s3: Store, plain: str, engine: Engine, status: int
) -> None:
    def fail_on_keys(answer: Answer) -> Answer:
        has_key = {"start-after", "marker"} & parse_qs(answer.query).keys()
        return refused(status, "Unsigned") if has_key else answer

    assert listed(s3, plain, engine, fail_on_keys) == sorted(PLAIN)


def test_a_check_that_fails_in_passing_is_repeated(s3: Store, plain: str) -> None:
    failures = ["SlowDown"]

    def fail_once(answer: Answer) -> Answer:
        is_check = "start-after" in parse_qs(answer.query)
        return refused(503, failures.pop()) if is_check and failures else answer

    quirks = (fail_once, without_tokens, element("IsTruncated", "false"))
    with (
        spoiling(s3, in_listings(*quirks), pages_of(10)) as by_way,
        opened(by_way, plain, "fsspec") as source,
    ):
        with pytest.raises(BusyError):
            list(source.list("d/"))
        assert [remote.key for remote in source.list("d/")] == sorted(PLAIN)


@pytest.mark.parametrize("version", [1, 2])
def test_a_listing_costs_one_request_more_than_its_pages(
    s3: Store, plain: str, version: int
) -> None:
    answers: list[Answer] = []

    def count(answer: Answer) -> Answer:
        answers.append(answer)
        return answer

    quirks = [count] if version == 2 else [count, first_version_only(501, "NotImplemented")]
    assert listed(s3, plain, "fsspec", *quirks) == sorted(PLAIN)
    pages = 3
    # The first version is found by one request.
    assert len(answers) == pages + 1 + (version == 1)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (501, "NotImplemented"),
        (400, "NotImplemented"),
        (405, "MethodNotAllowed"),
        (400, "InvalidArgument"),
    ],
)
def test_a_service_with_the_first_version_only_is_listed_by_markers(
    s3: Store, odd: str, engine: Engine, status: int, code: str
) -> None:
    assert listed(s3, odd, engine, first_version_only(status, code)) == sorted(ODD)


def test_a_run_fetches_every_file_and_a_second_run_none(
    s3: Store, odd: str, engine: Engine, kaiwo: Kaiwo
) -> None:
    spoil = in_listings(element("IsTruncated", None), first_version_only(501, "NotImplemented"))
    with spoiling(s3, spoil, pages_of(10)) as by_way:
        task = by_way.task(odd, [{"folder": "d", "target_path": "d", "glob": "[0-9]*"}])
        done = kaiwo({"download_items": [task]}, "--engine", engine)
        assert (done.code, done.report["downloaded"]) == (0, len(PLAIN)), done.stderr
        again = kaiwo({"download_items": [task]}, "--engine", engine)
        assert (again.code, again.report["unchanged"]) == (0, len(PLAIN)), again.stderr


def test_a_listing_of_folders_is_refused(s3: Store, plain: str) -> None:
    # obstore does not show folders for which nobody asked.
    folder = b"<CommonPrefixes><Prefix>d/deep/</Prefix></CommonPrefixes></ListBucketResult>"

    def with_folder(answer: Answer) -> Answer:
        return replace(answer, body=answer.body.replace(b"</ListBucketResult>", folder))

    with pytest.raises(ServiceError, match="lists folders"):
        listed(s3, plain, "fsspec", with_folder)
