"""Sources are opened at the same time, each once; a failure is that of all who waited for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kaiwo.errors import CredentialsError, TransientError, UnfinishedError
from kaiwo.protocols import Source
from kaiwo.workers import source_cache
from kaiwo.workers.source_cache import close_source, open_source, reopen
from kaiwo.workers.threads import WorkerThreads
from tests.support.faulty import FaultyStore

#: A source takes this long to open.
OPENS_IN_S = 0.3


class Opener:
    """Opens a store by a function that the test gives."""

    def __init__(self, opens: Callable[[], Source]) -> None:
        self._opens = opens
        self.origin = self.service = "test"
        self.ambient, self.secrets = "", b""
        self.opened = 0

    def open(self) -> Source:
        self.opened += 1
        return self._opens()

    def secrets_digest(self) -> bytes:
        return self.secrets

    def url(self, key: str, version: str | None = None) -> str:  # noqa: ARG002 - the seam
        return key


def slowly() -> Source:
    time.sleep(OPENS_IN_S)
    return FaultyStore()


@pytest.fixture
def openers() -> Iterator[list[Opener]]:
    """Those that a test uses; afterwards their sources are closed."""
    used: list[Opener] = []
    yield used
    for opener in used:
        close_source(opener)


def at_once(calls: list[Callable[[], Any]]) -> tuple[list[Any], float]:
    """The results, or errors, of calls in as many threads, and how long they took."""

    def result(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            return error

    start_s = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(result, calls)), time.monotonic() - start_s


def test_sources_are_opened_at_the_same_time(openers: list[Opener]) -> None:
    openers += [Opener(slowly) for _ in range(8)]
    found, took_s = at_once([lambda each=each: open_source(each) for each in openers])  # type: ignore[misc]
    assert len(set(map(id, found))) == 8
    assert took_s < 8 * OPENS_IN_S / 2


def test_a_source_that_several_threads_need_is_opened_once(openers: list[Opener]) -> None:
    openers.append(opener := Opener(slowly))
    found, _ = at_once([lambda: open_source(opener)] * 8)
    assert len(set(map(id, found))) == 1
    assert opener.opened == 1


def test_a_failure_to_open_a_source_is_that_of_all_who_waited(openers: list[Opener]) -> None:
    gone = TransientError("no answer in time")

    def fails() -> Source:
        time.sleep(OPENS_IN_S)
        raise gone

    openers.append(opener := Opener(fails))
    found, took_s = at_once([lambda: open_source(opener)] * 8)
    assert found == [gone] * 8
    assert opener.opened == 1
    assert took_s < 8 * OPENS_IN_S / 2
    opener._opens = FaultyStore  # noqa: SLF001 - it is up now
    assert isinstance(open_source(opener), FaultyStore)


def test_who_waited_for_another_run_that_ended_opens_the_source_itself(
    openers: list[Opener],
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def opens() -> Source:
        begun.set()
        may_end.wait(5)
        return FaultyStore()

    openers.append(opener := Opener(opens))
    ended, other = WorkerThreads(1, "ended"), WorkerThreads(1, "other")
    first = ended.submit(open_source, opener)
    assert begun.wait(5)
    second = other.submit(open_source, opener)
    ended.shutdown(wait=False, cancel_futures=True)
    may_end.set()
    assert isinstance(first.exception(5), UnfinishedError)
    assert isinstance(second.result(5), FaultyStore)
    other.shutdown()


def test_a_source_that_is_opened_again_holds_no_other_back(openers: list[Opener]) -> None:
    openers += [old := Opener(FaultyStore), other := Opener(FaultyStore)]
    refused = open_source(old)
    old.secrets = b"new"
    begun, may_end = threading.Event(), threading.Event()

    def opens() -> Source:
        begun.set()
        assert may_end.wait(5), "it was waited for"
        return FaultyStore()

    old._opens = opens  # noqa: SLF001 - the service takes its time

    def open_other() -> Source:
        begun.wait(5)
        found = open_source(other)
        may_end.set()
        return found

    found, _ = at_once([lambda: reopen(old, refused), open_other])
    assert found[0] is True
    assert isinstance(found[1], FaultyStore)


def test_of_several_that_are_refused_one_opens_the_source_again(openers: list[Opener]) -> None:
    openers.append(opener := Opener(slowly))
    refused = open_source(opener)
    opener.secrets = b"new"
    found, _ = at_once([lambda: reopen(opener, refused)] * 4)
    assert found == [True] * 4
    assert opener.opened == 2


def test_a_failure_to_open_it_again_leaves_the_refusal(openers: list[Opener]) -> None:
    openers.append(opener := Opener(FaultyStore))
    refused = open_source(opener)
    opener.secrets = b"new"

    def fails() -> Source:
        raise CredentialsError("half-written")

    opener._opens = fails  # noqa: SLF001
    assert not reopen(opener, refused)
    assert open_source(opener) is refused
    assert opener not in source_cache._opening.calls._under_way  # noqa: SLF001
