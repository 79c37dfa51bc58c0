"""A read found another object than planned: replaced, or the same by other words."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo.errors import TransientError
from kaiwo.objects import Checksum, ReadAs
from kaiwo.workers.look_up import restat
from kaiwo.workers.source_cache import close_source
from tests.support.faulty import FaultyOpener, FaultyStore, transfer_of

OLD_NS = 1_700_000_000_000_000_000
MD5 = Checksum("md5", "1" * 32)
#: In whole seconds, and far enough ahead that it is recent whenever its test has its turn.
RECENT_NS = time.time_ns() // 10**9 * 10**9 + 10**14


@pytest.mark.parametrize(
    ("planned", "now", "read_as"),
    [
        # The same in a HEAD: what a GET states is what the reads go by, without a condition.
        ({}, {}, ReadAs("etag", OLD_NS, conditional=False)),
        # Another etag with the same checksum: a tag, or a tier.
        ({"checksum": MD5}, {"checksum": MD5, "etag": "new"}, ReadAs("new", OLD_NS)),
        # Another etag with the same, old date: listings and HEAD use other words.
        ({}, {"etag": "new"}, ReadAs("new", OLD_NS)),
        # Replaced: another date, another checksum, another size, a date that is too young to tell.
        ({}, {"etag": "new", "modified_ns": OLD_NS + 10**9}, None),
        ({"checksum": MD5}, {"etag": "new", "checksum": Checksum("md5", "2" * 32)}, None),
        ({}, {"etag": "new", "size": 5}, None),
        ({"modified_ns": RECENT_NS}, {"etag": "new", "modified_ns": RECENT_NS}, None),
        ({"modified_ns": None}, {"etag": "new", "modified_ns": None}, None),
    ],
)
def test_what_it_is_now(
    tmp_path: Path, planned: dict[str, Any], now: dict[str, Any], read_as: ReadAs | None
) -> None:
    store = FaultyStore({"a": b"some"}, None)
    as_planned = replace(store.remote("a"), etag="etag", modified_ns=OLD_NS)
    as_planned = replace(as_planned, **planned)
    store.stated["a"] = replace(as_planned, **now)
    opener = FaultyOpener(store)
    found = restat(transfer_of(opener, as_planned, tmp_path)).now
    close_source(opener)
    assert found is not None
    assert found.read_as == read_as
    # What is remembered is what a listing states, unless it was replaced.
    assert replace(found, read_as=None) == (store.stated["a"] if read_as is None else as_planned)


def test_a_read_that_states_another_size_than_the_look_up_is_repeated(tmp_path: Path) -> None:
    """One answer against two: it may have lost its body."""
    store = FaultyStore({"a": b"some"}, None)
    planned = replace(store.remote("a"), etag="etag", modified_ns=OLD_NS)
    store.stated["a"], store.read_as["a"] = planned, replace(planned, size=0)
    opener = FaultyOpener(store)
    with pytest.raises(TransientError, match="listed with 4 bytes, and read as if it had 0"):
        restat(transfer_of(opener, planned, tmp_path))
    close_source(opener)
