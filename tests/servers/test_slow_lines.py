"""A slow line keeps its limits, and its record is what a client received."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kaiwo.tasks.base import Engine
from tests.servers import web
from tests.support.command import Kaiwo
from tests.support.faulty import content
from tests.support.slow_lines import Line, Refusal
from tests.support.stores import Store
from tests.support.waiting import wait_until

DATA = content(100_000)
RATE = 200_000
#: Of one answer at that rate.
ANSWER_S = len(DATA) / RATE


@contextlib.contextmanager
def before_a_page(line: Line) -> Iterator[str]:
    """The address of the bytes, by way of the line."""
    with web.site() as site:
        site.pages["/data"] = web.Page(DATA)
        with line.before_server(site.at) as address:
            yield f"{address}/data"


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        body: bytes = answer.read()
    return body


def took_s(url: str, at_once: int) -> float:
    """The time of requests at once, each by a connection of its own."""
    begun_s = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        assert all(body == DATA for body in pool.map(fetched, [url] * at_once))
    return time.monotonic() - begun_s


def test_each_connection_has_the_rate() -> None:
    line = Line(rate=RATE)
    with before_a_page(line) as url:
        assert took_s(url, 1) >= ANSWER_S
        assert took_s(url, 4) >= ANSWER_S
    assert line.most > 1


def test_all_connections_share_the_whole_line() -> None:
    with before_a_page(Line(whole=RATE)) as url:
        assert took_s(url, 2) >= 2 * ANSWER_S


def test_a_connection_that_was_idle_has_no_room_in_advance() -> None:
    with before_a_page(Line(rate=RATE)) as url:
        host, _, path = url.removeprefix("http://").partition("/")
        with contextlib.closing(http.client.HTTPConnection(host)) as connection:
            for _ in range(2):
                begun_s = time.monotonic()
                connection.request("GET", f"/{path}")
                assert connection.getresponse().read() == DATA
                assert time.monotonic() - begun_s >= ANSWER_S


def test_the_record_is_what_a_client_received() -> None:
    line = Line(rate=RATE)
    with before_a_page(line) as url, urllib.request.urlopen(url) as answer:
        received, begun_s = 0, time.time()
        while piece := answer.read1(1000):
            received += len(piece)
            assert received <= line.sent + line.piece()
        # The client may have the last piece before the record has it.
        wait_until(lambda: line.sent == len(DATA))
        assert line.sent_by(begun_s - 1) == 0
        assert line.sent_by(time.time()) == line.sent == len(DATA)


def test_an_answer_is_late() -> None:
    with before_a_page(Line(late_s=0.2)) as url:
        assert took_s(url, 1) >= 0.2


@pytest.mark.parametrize("refusal", [429, 503, "reset"])
def test_a_request_too_many_is_refused_while_another_is_served(refusal: Refusal) -> None:
    line = Line(rate=RATE, at_once=1, refusal=refusal)
    with before_a_page(line) as url, urllib.request.urlopen(url) as served:
        with pytest.raises((urllib.error.HTTPError, ConnectionResetError)) as caught:
            fetched(url)
        if refusal != "reset":
            assert isinstance(caught.value, urllib.error.HTTPError)
            assert caught.value.code == refusal
            caught.value.close()
        assert served.read() == DATA
        assert fetched(url) == DATA, "the next is not served"
    assert (line.refused, line.most, line.requests, line.sent) == (1, 1, 2, 2 * len(DATA))


def test_a_client_that_is_gone_is_sent_nothing_more() -> None:
    line = Line(rate=RATE, at_once=1)
    with before_a_page(line) as url:
        with urllib.request.urlopen(url) as answer:
            answer.read1(1000)
        wait_until(lambda: is_served(url))
    assert len(DATA) < line.sent < 2 * len(DATA)


def is_served(url: str) -> bool:
    with contextlib.suppress(urllib.error.HTTPError):
        return fetched(url) == DATA
    return False


def test_a_line_ends_while_it_sends() -> None:
    with before_a_page(Line(rate=1)) as url:
        thread = threading.Thread(target=lambda: suppressed(url))
        thread.start()
    thread.join(10)
    assert not thread.is_alive()


def suppressed(url: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        fetched(url)


def test_a_store_behind_a_line_is_downloaded(
    store: Store, engine: Engine, kaiwo: Kaiwo, tmp_path: Path
) -> None:
    line = Line(rate=1_000_000)
    bucket = store.new_bucket({"a": DATA, "b/c": DATA[::-1]})
    with line.before(store) as slow:
        task = slow.task(bucket, [{"folder": "", "target_path": "./"}])
        assert kaiwo({"download_items": [task]}, "--engine", engine).code == 0
    assert (tmp_path / "out/a").read_bytes() == DATA
    assert (line.requests, line.sent) == (2, 2 * len(DATA))


def test_the_other_host_of_a_hub_is_behind_the_line(
    hub: Store, kaiwo: Kaiwo, tmp_path: Path
) -> None:
    line, large = Line(rate=10_000_000), content(2_000_000)
    hub.fill("org/slow", {"small": DATA, "large": large})
    with line.before(hub) as slow:
        task = slow.task("org/slow", [], target_path=str(tmp_path / "out"))
        assert kaiwo({"download_items": [task]}).code == 0
    assert (tmp_path / "out/large").read_bytes() == large
    assert line.sent == len(DATA) + len(large)
