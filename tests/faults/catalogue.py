"""The faults, as data, and the objects on which they are tried: 51 of them, 110 MB."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.servers.faulty_s3 import (
    Get,
    Hits,
    Plan,
    cut,
    every,
    every_ranged,
    flip_byte,
    hide_size,
    ignore_range,
    refuse,
    reset,
    shift_range,
    stall,
)

#: So many objects of such sizes: one in several parts for any tool, some in two ranges of kaiwo's,
#: the others in one request.
_SIZES = {"huge": (1, 54_000_000), "large": (6, 8_500_000), "medium": (3, 1_200_000)}
_SIZES |= {"small": (41, 34_000)}
#: Folders whose objects are replaced while they are fetched.
_REPLACED = ("huge/", "large/")


@dataclass(frozen=True, slots=True)
class Case:
    """A fault.

    Attributes:
        name: a word for it.
        title: what happens, for people.
        plan: the same, for the server.
        options: what a tool is told besides, by its name up to the first dash.
    """

    name: str
    title: str
    plan: Plan
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@functools.cache
def objects() -> dict[str, bytes]:
    """The objects, the same at every call and in every process."""
    source = random.Random(20_230_711)
    return {
        f"{folder}/{number:02}.bin": source.randbytes(size)
        for folder, (count, size) in _SIZES.items()
        for number in range(count)
    }


def _first_of_some() -> Hits:
    return lambda get: get.key_number == 1 and get.key.startswith(_REPLACED)


def _twice_of_some(get: Get) -> bool:
    return get.key.endswith("/00.bin") and get.start == 0 and get.key_number <= 2


def _is_ranged(get: Get) -> bool:
    return get.ranged


CASES = (
    Case("reset", "TCP reset in the middle of a body, every 7th GET", Plan(reset, every(7))),
    Case("short", "body ends early, every 7th GET", Plan(cut, every(7))),
    Case("500", "status 500, every 5th GET", Plan(refuse(500, "InternalError"), every(5))),
    Case(
        "503",
        "status 503 with `Retry-After: 1`, every 5th GET",
        Plan(refuse(503, "SlowDown", {"Retry-After": "1"}), every(5)),
    ),
    Case("429", "status 429, every 5th GET", Plan(refuse(429, "TooManyRequests"), every(5))),
    Case(
        "stall",
        "the body stops and the connection stays open, every 15th GET",
        Plan(stall, every(15)),
        {"kaiwo": ("--stall-timeout", "2"), "rclone": ("--timeout", "2s")},
    ),
    Case("no-ranges", "`Range` ignored: always the whole object", Plan(ignore_range, _is_ranged)),
    Case(
        "wrong-range",
        "another range than was asked for, every 10th ranged GET",
        Plan(shift_range, every_ranged(10)),
    ),
    Case("flip", "one byte wrong, every 20th GET", Plan(flip_byte, every(20))),
    Case(
        "replaced",
        "the 7 largest objects are replaced, each after its first GET",
        Plan(replaces=_first_of_some()),
    ),
    Case("down", "service down for the first 3 s", Plan(down_s=3)),
)
#: What is tried on kaiwo alone.
MORE = (
    Case("wrong-ranges", "always another range than was asked for", Plan(shift_range, _is_ranged)),
    Case("unsized", "no length of the object in ranges' answers", Plan(hide_size, _is_ranged)),
    Case("listing", "status 500 for the first listing", Plan(failing_listings=1)),
    Case(
        "flip-twice",
        "one byte wrong in the first two reads of some objects",
        Plan(flip_byte, _twice_of_some),
    ),
    Case(
        "flip-parts",
        "one byte wrong, every 20th GET; ETags are no md5",
        Plan(flip_byte, every(20), etags="parts"),
    ),
)
