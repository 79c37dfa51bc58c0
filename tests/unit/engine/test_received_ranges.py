"""The ranges of one object: what is contiguous, and what their checksums combine to."""

from __future__ import annotations

import itertools

import pytest

from kaiwo import checksums
from kaiwo.engine.received_ranges import ReceivedRanges
from kaiwo.objects import Checksum
from tests.support.faulty import content

LENGTH = 1_000


def crcs_of(data: bytes, start: int, *algorithms: str) -> dict[str, int]:
    part = data[start : start + LENGTH]
    return {algorithm: checksums.crc(algorithm, part) for algorithm in algorithms}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_frontier_is_where_the_first_bytes_are_missing(order: tuple[int, ...]) -> None:
    size = 3 * LENGTH + 1
    parts = ReceivedRanges(0, size, LENGTH)
    there: set[int] = set()
    for number in order:
        parts.add(number * LENGTH, {})
        there.add(number)
        first = next((each for each in range(4) if each not in there), None)
        assert parts.frontier == (size if first is None else first * LENGTH)
        assert parts.complete == (first is None)


@pytest.mark.parametrize("algorithm", list(checksums.COMBINABLE))
@pytest.mark.parametrize("size", [LENGTH - 1, LENGTH, LENGTH + 1, 3 * LENGTH, 3 * LENGTH + 7])
def test_in_any_order_the_checksum_is_that_of_the_whole(algorithm: str, size: int) -> None:
    data = content(size)
    for order in itertools.permutations(range(0, size, LENGTH)):
        parts = ReceivedRanges(0, size, LENGTH)
        for start in order:
            parts.add(start, crcs_of(data, start, *checksums.COMBINABLE))
        assert parts.complete
        assert parts.checksum(algorithm) == checksums.of_bytes(algorithm, data)


def test_a_range_that_was_read_without_it_leaves_no_checksum() -> None:
    data = content(3 * LENGTH)
    parts = ReceivedRanges(0, len(data), LENGTH)
    parts.add(0, crcs_of(data, 0, "crc32c", "crc64nvme"))
    parts.add(LENGTH, crcs_of(data, LENGTH, "crc32c"))
    parts.add(2 * LENGTH, crcs_of(data, 2 * LENGTH, "crc32c", "crc64nvme"))
    assert isinstance(parts.checksum("crc32c"), Checksum)
    assert parts.checksum("crc64nvme") is None
    assert parts.checksum("md5") is None


def test_the_checksum_of_a_single_range_is_told_if_it_is_known() -> None:
    data = content(2 * LENGTH)
    parts = ReceivedRanges(0, len(data), LENGTH)
    parts.add(LENGTH, crcs_of(data, LENGTH, "crc32c"))
    assert parts.crc(LENGTH, "crc32c") == checksums.crc("crc32c", data[LENGTH:])
    assert parts.crc(LENGTH, "crc64nvme") is None
    assert parts.crc(0, "crc32c") is None
    assert parts.crc(7, "crc32c") is None


def test_what_is_not_there_yet_has_no_checksum() -> None:
    data = content(2 * LENGTH)
    parts = ReceivedRanges(0, len(data), LENGTH)
    parts.add(LENGTH, crcs_of(data, LENGTH, "crc32c"))
    assert (parts.complete, parts.checksum("crc32c")) == (False, None)


def test_a_range_that_comes_again_is_what_it_is_then() -> None:
    data = content(2 * LENGTH)
    parts = ReceivedRanges(0, len(data), LENGTH)
    parts.add(0, {"crc32c": 7})
    for start in (0, LENGTH):
        parts.add(start, crcs_of(data, start, "crc32c"))
    assert parts.checksum("crc32c") == checksums.of_bytes("crc32c", data)


def test_a_range_that_comes_twice_counts_once() -> None:
    data = content(2 * LENGTH)
    parts = ReceivedRanges(0, len(data), LENGTH)
    for start in (0, 0, LENGTH, 0):
        parts.add(start, crcs_of(data, start, "crc32c"))
    assert parts.checksum("crc32c") == checksums.of_bytes("crc32c", data)
