"""How many requests the memory allows, and how services share them."""

from __future__ import annotations

import pytest

from kaiwo.engine.request_budget import (
    BASE,
    BESIDE,
    COPIES,
    PIECE,
    UNSAVED,
    memory_budget,
    most_requests,
    piece_size,
    shares,
)

MIB = 1 << 20
LIMITS = [None, *(size * MIB for size in (192, 256, 512, 1024, 2048, 4096, 8192, 65536))]


@pytest.mark.parametrize(
    ("limit", "budget", "requests"),
    [
        (None, 256, 85),
        (256, 128, 17),
        (512, 256, 85),
        (2048, 512, 221),
        (8192, 1024, 494),
        (65536, 1024, 494),
    ],
)
def test_the_pods_limit_says_how_many_requests_there_may_be(
    limit: int | None, budget: int, requests: int
) -> None:
    found = memory_budget(None if limit is None else limit * MIB)
    assert found == budget * MIB
    assert most_requests(found) == requests


def test_a_pod_without_room_gets_one_request() -> None:
    assert most_requests(memory_budget(128 * MIB)) == 1


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("requests", [1, 2, 8, 17, 64, 85])
def test_all_pieces_together_keep_the_budget(limit: int | None, requests: int) -> None:
    budget = memory_budget(limit)
    if requests <= most_requests(budget):
        size = piece_size(budget, requests)
        assert BASE + requests * (COPIES * size + BESIDE) <= budget or size == PIECE
        assert requests * size <= UNSAVED


def test_a_kill_costs_64_mib_at_most() -> None:
    budget = memory_budget(8192 * MIB)
    assert [piece_size(budget, requests) for requests in (8, 64)] == [8 * MIB, MIB]
    assert piece_size(memory_budget(512 * MIB), 64) == MIB // 2


@pytest.mark.parametrize(
    ("wanted", "most", "expected"),
    [
        ({"a": 64}, 85, {"a": 64}),
        ({"a": 64, "b": 64}, 85, {"a": 42, "b": 43}),
        ({"a": 8, "b": 64}, 85, {"a": 8, "b": 64}),
        ({"a": 8, "b": 64, "c": 64}, 85, {"a": 8, "b": 38, "c": 39}),
        ({"a": 8, "b": 8, "c": 8}, 2, {"a": 1, "b": 1, "c": 1}),
        ({}, 85, {}),
    ],
)
def test_services_share_what_there_is(
    wanted: dict[str, int], most: int, expected: dict[str, int]
) -> None:
    assert shares(wanted, most) == expected
