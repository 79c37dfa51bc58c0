"""Which bytes of a plan are whose: all of them somebody's, none of them two shards'."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaiwo.jobs import RANGE
from kaiwo.shards.split import Weighed, split

MIB = 1 << 20
SIZES = st.one_of(st.integers(0, 1 << 32), st.sampled_from([0, 1, MIB, RANGE, 100 * MIB]))
OBJECTS = st.builds(
    lambda size, divisible: Weighed(size, divisible and size > RANGE), SIZES, st.booleans()
)


def loads(objects: list[Weighed], shards: int) -> list[int]:
    """The bytes of each shard; each byte of each object must be in exactly one."""
    found, divided = [0] * shards, split(objects, shards)
    for index, each in enumerate(objects):
        parts = [(shard, divided.part(index, shard)) for shard in range(shards)]
        cut = [(shard, part) for shard, part in parts if part is not None]
        owners = [shard for shard in range(shards) if divided.is_whole(index, shard)]
        assert len(owners) == (0 if cut else 1)
        for owner in owners:
            found[owner] += each.size
        at = 0
        for shard, (start, end) in cut:
            assert (start, start % RANGE) == (at, 0)
            assert end > start
            found[shard], at = found[shard] + end - start, end
        assert not cut or at == each.size
    assert len(divided.cut) < shards
    return found


#: A busy machine is no failure.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OBJECTS, max_size=30), st.integers(1, 9))
def test_each_byte_is_one_shards(objects: list[Weighed], shards: int) -> None:
    assert sum(loads(objects, shards)) == sum(each.size for each in objects)


@pytest.mark.parametrize("shards", [2, 3, 7])
@pytest.mark.parametrize(
    "objects",
    [
        [Weighed(3_000_000_000, True), *[Weighed(1_000_000)] * 1000],
        [Weighed(5 << 30, True)],
        [*[Weighed(700 * MIB, True)] * 5, *[Weighed(MIB // 2)] * 1000],
        [*[Weighed(1000)] * 10_000, Weighed(1 << 30, True)],
    ],
)
def test_all_have_as_much(objects: list[Weighed], shards: int) -> None:
    mean = sum(each.size for each in objects) / shards
    assert loads(objects, shards) == pytest.approx([mean] * shards, rel=0.1)


def test_a_third_of_what_the_docs_name_is_a_third() -> None:
    found = loads([Weighed(300_000_000, True), *[Weighed(1_000_000)] * 100], 3)
    assert found == pytest.approx([400e6 / 3] * 3, rel=0.02)
