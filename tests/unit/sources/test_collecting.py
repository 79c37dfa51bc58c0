"""How much a stream of obstore collects: what the streams before it showed."""

from __future__ import annotations

import threading
import time

from kaiwo.sources.obstore.collecting import Collecting

FIRST, MOST = 16 << 10, 512 << 10


def test_streams_that_begin_with_the_first_collect_much_if_that_one_is_fast() -> None:
    collecting = Collecting()
    assert collecting.next_bytes() == FIRST
    measured = collecting.measuring(8 << 20)
    for _ in range(MOST // FIRST):
        measured(bytes(FIRST))
    assert min(collecting.next_bytes() for _ in range(7)) > FIRST


def test_a_short_first_stream_shows_it_too() -> None:
    collecting = Collecting()
    collecting.next_bytes()
    collecting.measuring(100_000)(bytes(100_000))
    assert collecting.next_bytes() > FIRST


def test_nobody_waits_long_for_a_slow_one_nor_twice() -> None:
    collecting = Collecting()
    collecting.next_bytes()
    collecting.measuring(8 << 20)(bytes(FIRST))  # a burst says nothing
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(collecting.next_bytes())) for _ in range(7)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(5)
    assert found == [FIRST] * 7
    start_s = time.monotonic()
    for _ in range(100):
        collecting.next_bytes()
    assert time.monotonic() - start_s < 5
