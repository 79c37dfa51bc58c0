"""The names of kaiwo's own files: no object may get one, and each run finds its own."""

from __future__ import annotations

import pytest

from kaiwo import own_names
from kaiwo.files.names import fault_of

PART = own_names.object_part_name("9f1c22aa", 31, 0)


def test_the_names_are_those_that_are_documented() -> None:
    # A later kaiwo has to find what an earlier one wrote.
    assert PART == ".kaiwo-9f1c22aa-1f.part"
    assert own_names.object_part_name("9f1c22aa", 31, 2) == ".kaiwo-9f1c22aa-1f.2.part"
    assert own_names.link_name(PART) == ".kaiwo-9f1c22aa-1f.link"
    assert own_names.part_name("main") == ".kaiwo-main.part"
    assert own_names.generations_name("x.y") == ".kaiwo-x.y.generations"
    assert own_names.next_name("x.y") == ".kaiwo-x.y.next"
    assert own_names.name_of_next(".kaiwo-x.y.next") == "x.y"


@pytest.mark.parametrize(
    "name",
    [
        PART,
        own_names.link_name(PART),
        own_names.part_name("x"),
        own_names.STATE_FOLDER,
        own_names.generations_name("x"),
        own_names.next_name("x"),
    ],
)
def test_no_object_may_have_a_name_of_kaiwos_own(name: str) -> None:
    assert own_names.is_own(name)
    assert "own" in (fault_of(f"folder/{name}") or "")


def test_a_run_knows_its_own_temporary_files() -> None:
    link = own_names.link_name(PART)
    assert own_names.is_temporary_of(PART, "9f1c22aa")
    assert own_names.is_temporary_of(link, "9f1c22aa")
    assert (own_names.is_part_of(PART, "9f1c22aa"), own_names.is_part_of(link, "9f1c22aa")) == (
        True,
        False,
    )
    assert not own_names.is_temporary_of(PART, "9f1c22a")
    assert not own_names.is_temporary_of(PART, "9f1c22aa-1f")
    assert not own_names.is_temporary_of(own_names.STATE_FOLDER, "9f1c22aa")


def test_the_longest_temporary_name_is_as_long_as_is_said() -> None:
    longest = own_names.object_part_name("f" * 8, 2**64, 10**9)
    assert len(longest) <= own_names.LONGEST_TEMPORARY
