"""Under a limit, requests are few and small, and grow only while the limit is not used up."""

from __future__ import annotations

import pytest

from kaiwo.engine import bandwidth_share
from kaiwo.engine.bandwidth_share import first_requests, piece_size, request_size
from kaiwo.engine.request_limit import RequestLimit

RATES = [1_000, 20_000, 1_000_000, 20_000_000, 1_000_000_000]


@pytest.mark.parametrize("rate", RATES)
def test_the_first_requests_ask_for_little_together(rate: int) -> None:
    requests = min(first_requests(rate), 8)
    assert requests >= 1
    asked = requests * request_size(rate, requests)
    assert asked <= max(0.25 * rate, bandwidth_share.LEAST_REQUEST)
    read = requests * piece_size(rate, requests)
    assert read <= max(0.1 * rate, bandwidth_share.LEAST_PIECE)


@pytest.mark.parametrize("rate", RATES)
def test_more_requests_ask_for_less_each(rate: int) -> None:
    assert request_size(rate, 64) <= request_size(rate, 8)
    assert piece_size(rate, 64) <= piece_size(rate, 8)


@pytest.mark.parametrize("requests", [2, 4, 8])
@pytest.mark.parametrize("answer_s", [0.1, 0.5, 2.0])
def test_late_answers_leave_the_limit_used_up(requests: int, answer_s: float) -> None:
    rate = 20_000_000
    size = request_size(rate, requests, answer_s)
    # One waits for its answer meanwhile.
    assert (requests - 1) * size >= rate * answer_s
    assert requests * size <= rate * (0.25 + 2 * answer_s)


def test_an_answer_that_never_comes_asks_for_no_more_and_more() -> None:
    assert request_size(1_000_000, 2, 1e6) <= 10_000_000


def test_requests_that_are_held_back_do_not_grow() -> None:
    limit, now_s = RequestLimit(first=2), 0.0
    for _ in range(1_000):
        now_s += 0.02
        limit.note(now_s, bytes=100_000, requests=2, first_byte_s=0.01, connection_rate=5e6)
        assert limit.step(now_s, limit.limit, is_held_back=True) is None
    assert limit.limit == 2


def test_requests_grow_once_they_are_no_longer_held_back() -> None:
    limit, now_s = RequestLimit(first=2), 0.0
    for step in range(1_000):
        now_s += 0.02
        limit.note(now_s, bytes=50_000 * limit.limit, requests=limit.limit, first_byte_s=0.01)
        limit.step(now_s, limit.limit, is_held_back=step < 100)
    assert limit.limit > 2
