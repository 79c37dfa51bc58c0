"""Listings of services that do not say as they should whether more follows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kaiwo.errors import ServiceError
from kaiwo.tasks.base import Engine
from tests.support.engines import opened
from tests.support.proxies import Answer, spoiling
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
