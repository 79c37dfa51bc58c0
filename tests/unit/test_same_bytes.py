"""Which of two statements of an object are of the same bytes: the ladder, step by step."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo.objects import Checksum, RemoteObject, is_identified, same_bytes

FULL = RemoteObject(
    "a", 9, "e1", "v1", Checksum("md5", "1" * 32), modified_ns=1_000_000_000, variant="q"
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        # A tag, a tier or a copy: the checksum is the same.
        ({}, {"etag": "e2", "version": "v2", "modified_ns": 5}, True),
        ({}, {"checksum": Checksum("md5", "2" * 32)}, False),
        # Other algorithms are not comparable; the next step decides.
        ({}, {"checksum": Checksum("sha1", "2" * 40)}, True),
        ({}, {"checksum": Checksum("sha1", "2" * 40), "version": "v2"}, False),
        ({"checksum": None}, {"version": "v2"}, False),
        ({"checksum": None}, {"etag": "e2", "modified_ns": 5}, True),
        ({"checksum": None, "version": None}, {"etag": "e2"}, False),
        # A moved bucket: the same etags, other dates.
        ({"checksum": None, "version": None}, {"modified_ns": 5}, True),
        ({"checksum": None, "version": None, "etag": None}, {"modified_ns": 5}, False),
        ({"checksum": None, "version": None, "etag": None}, {}, True),
        ({"checksum": None, "version": None, "etag": None, "modified_ns": None}, {}, None),
        # Another size, or another query, is another object whatever else is stated.
        ({}, {"size": 10}, False),
        ({}, {"variant": None}, False),
        ({"size": 0, "checksum": None}, {"size": 0, "etag": "e2", "version": None}, False),
    ],
)
def test_the_first_step_that_both_state_decides(
    one: dict[str, Any], other: dict[str, Any], same: bool | None
) -> None:
    first, second = replace(FULL, **one), replace(FULL, **other)
    assert same_bytes(first, second) is same
    assert same_bytes(second, first) is same


def test_the_key_is_no_part_of_it() -> None:
    assert same_bytes(FULL, replace(FULL, key="b"))


@pytest.mark.parametrize("step", ["etag", "version", "checksum", "modified_ns"])
def test_any_step_identifies(step: str) -> None:
    bare = RemoteObject("a", 9, variant="q")
    assert not is_identified(bare)
    assert is_identified(replace(bare, **{step: getattr(FULL, step)}))
