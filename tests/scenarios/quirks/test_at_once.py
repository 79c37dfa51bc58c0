"""How many listings and look-ups are under way at once, at servers that see it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from kaiwo.config.document import Document
from kaiwo.config.loader import build
from kaiwo.engine.request_limit import FIRST
from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.service_health import LEAST_LOST, ServiceHealth
from kaiwo.errors import BusyError
from kaiwo.jobs import Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.planning.gather import Listing, gather
from kaiwo.tasks.base import Context, Engine
from kaiwo.workers.doubts import LOOKED_UP_AT_ONCE
from kaiwo.workers.source_cache import close_source
from tests.support import quirks_objects as quirks
from tests.support.engines import opened
from tests.support.faulty import RecordingSink
from tests.support.proxies import Answer, Spoil, spoiling
from tests.support.quirks_at_once import PATIENCE_S, AtOnce, Serves
from tests.support.stores import Store

NUMBERS = range(40)
FOLDERS = [{"folder": f"d{number:02}", "target_path": f"{number}"} for number in NUMBERS]
FILES = [{"file": f"d{number:02}/k", "target_path": f"{number}"} for number in NUMBERS]


@pytest.fixture(scope="module")
def bucket(s3: Store) -> str:
    return s3.new_bucket({f"d{number:02}/k": b"x" for number in NUMBERS})


@contextmanager
def wanted(*tasks: dict[str, object], engine: Engine) -> Iterator[list[Want]]:
    """What these tasks want; their sources are closed afterwards."""
    config = build(Document("test", {"download_items": list(tasks)}), {})
    context = Context(
        "/nowhere", NetworkSettings(stall_timeout_s=2 * PATIENCE_S), engine, lambda _: "test"
    )
    wants = [want for task in config.tasks for want in task.wants(context)]
    try:
        yield wants
    finally:
        for want in wants:
            close_source(want.opener)


def gathered(wants: list[Want], workers: int | None = None) -> Listing:
    health = ServiceHealth(LEAST_LOST)
    with ThreadPoolExecutor(64) as pool:
        return gather(wants, pool, workers, RetryPolicy(), health, RecordingSink())


@pytest.mark.parametrize(("items", "requests"), [(FOLDERS, 2), (FILES, 1)])
def test_more_run_at_once_while_the_service_answers(
    s3: Store, bucket: str, engine: Engine, items: list[dict[str, object]], requests: int
) -> None:
    # The first are answered; each of them allows one more.
    at_once = AtOnce(wanted=FIRST + 2, free=FIRST * requests)
    with (
        spoiling(s3, at_once) as by_way,
        wanted(by_way.task(bucket, items), engine=engine) as wants,
    ):
        listing = gathered(wants)
    assert at_once.most >= FIRST + 2
    assert [[remote.key for remote in found] for _, found in listing.found] == [
        [f"d{number:02}/k"] for number in NUMBERS
    ]


def test_the_number_that_the_user_gave_is_kept(s3: Store, bucket: str, engine: Engine) -> None:
    at_once = AtOnce(wanted=3)
    with (
        spoiling(s3, at_once) as by_way,
        wanted(by_way.task(bucket, FILES), engine=engine) as wants,
    ):
        listing = gathered(wants, workers=3)
    assert (at_once.most, len(listing.found)) == (3, len(FILES))


def test_a_service_that_is_slow_does_not_hold_back_another(
    s3: Store, bucket: str, engine: Engine
) -> None:
    other_is_listed = threading.Event()
    left = list(FILES)

    def count(method: str, path: str, answer: Answer) -> Answer:
        left.pop()
        if not left:
            other_is_listed.set()
        return answer

    waited: list[bool] = []

    def wait(method: str, path: str, answer: Answer) -> Answer:
        waited.append(other_is_listed.wait(PATIENCE_S))
        return answer

    with (
        spoiling(s3, wait) as slow,
        spoiling(s3, count) as other,
        wanted(slow.task(bucket, FILES), other.task(bucket, FILES), engine=engine) as wants,
    ):
        listing = gathered(wants)
    assert len(listing.found) == 2 * len(FILES)
    assert all(waited)


@pytest.mark.parametrize("items", [FOLDERS, FILES])
def test_a_service_that_serves_two_at_once_is_listed(
    s3: Store, bucket: str, engine: Engine, items: list[dict[str, object]]
) -> None:
    serves = Serves(2, refusals=FIRST - 2)
    with (
        spoiling(s3, serves) as by_way,
        wanted(by_way.task(bucket, items[:20]), engine=engine) as wants,
    ):
        listing = gathered(wants)
    assert (len(listing.found), listing.failed) == (20, ())


def heads(spoil: Spoil) -> Spoil:
    """This behaviour in the answers to look-ups, of a service that lists everything as empty."""

    def both(method: str, path: str, answer: Answer) -> Answer:
        return (spoil if method == "HEAD" else quirks.listed_empty)(method, path, answer)

    return both


def test_doubtful_objects_are_looked_up_at_once(s3: Store, bucket: str, engine: Engine) -> None:
    at_once = AtOnce(wanted=LOOKED_UP_AT_ONCE)
    with spoiling(s3, heads(at_once)) as by_way, opened(by_way, bucket, engine) as source:
        found = list(source.list(""))
    assert at_once.most == LOOKED_UP_AT_ONCE
    assert [remote.size for remote in found] == [1] * len(NUMBERS)


def test_a_service_that_looks_two_up_at_once_is_asked_fewer(
    s3: Store, bucket: str, engine: Engine
) -> None:
    serves = Serves(2, refusals=LOOKED_UP_AT_ONCE - 2)
    failures = 0
    with spoiling(s3, heads(serves)) as by_way, opened(by_way, bucket, engine) as source:
        while True:
            try:
                found = list(source.list(""))
            except BusyError:
                failures += 1
            else:
                break
    assert [remote.size for remote in found] == [1] * len(NUMBERS)
    # From 32 at once to two.
    assert failures <= 4
