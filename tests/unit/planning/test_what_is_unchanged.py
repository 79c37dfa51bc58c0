"""When a file that kaiwo published counts as unchanged: the same bytes, and verified as wanted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo.jobs import Outcome
from kaiwo.state.state import State
from tests.support.faulty import FaultyOpener, FaultyStore
from tests.support.planning import planned, want

DATE_NS = 1_700_000_000_000_000_000


def published(root: Path, *, checked: bool, verified: bool, **stated: Any) -> FaultyOpener:
    """A store whose one object is in place, as a run with or without ``--verify size`` left it."""
    store = FaultyStore({"a": b"some"}, None)
    store.stated["a"] = replace(store.remote("a"), **stated)
    opener, memory = FaultyOpener(store), State(checked=checked)
    (each,) = planned([want(opener, root)], memory).transfers
    path = Path(each.target)
    path.write_bytes(b"some")
    done = Outcome(
        each,
        published=True,
        mtime_ns=path.stat().st_mtime_ns,
        checksum=each.object.checksum,
        verified=verified,
    )
    memory.remember([done])
    memory.close()
    return opener


@pytest.mark.parametrize(
    ("checked", "asked", "unchanged"),
    [(True, True, True), (False, True, False), (False, False, True)],
)
def test_what_came_by_its_size_is_asked_about_once_if_its_store_may_state_a_checksum(
    tmp_path: Path, checked: bool, asked: bool, unchanged: bool
) -> None:
    opener = published(tmp_path, checked=checked, verified=False, checksum_on_request=asked)
    plan = planned([want(opener, tmp_path)])
    assert (len(plan.unchanged), len(plan.transfers)) == ((1, 0) if unchanged else (0, 1))
    assert all(each.present and each.published for each in plan.transfers)


def test_a_file_that_somebody_else_put_there_is_not_taken_for_published(tmp_path: Path) -> None:
    opener = FaultyOpener(FaultyStore({"a": b"some"}))
    (tmp_path / "a").write_bytes(b"some")
    (each,) = planned([want(opener, tmp_path)]).transfers
    assert (each.present, each.published) == (True, False)


@pytest.mark.parametrize(
    ("now", "unchanged"),
    [
        ({}, True),
        ({"etag": "another"}, False),
        ({"etag": None, "modified_ns": DATE_NS}, True),
        ({"etag": None, "modified_ns": DATE_NS + 10**9}, False),
        ({"modified_ns": 5}, True),
        ({"version": "2"}, True),
    ],
)
def test_the_highest_step_that_is_stated_decides(
    tmp_path: Path, now: dict[str, Any], unchanged: bool
) -> None:
    opener = published(tmp_path, checked=True, verified=False, modified_ns=DATE_NS)
    store = opener.store
    store.stated["a"] = replace(store.stated["a"], **now)
    assert len(planned([want(opener, tmp_path)]).unchanged) == unchanged


@pytest.mark.parametrize("verify", [True, False])
def test_where_only_the_size_is_stated_it_is_enough_for_verify_size_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, verify: bool
) -> None:
    opener = published(tmp_path, checked=True, verified=False, etag=None)
    plan = planned([want(opener, tmp_path)], verify=verify)
    assert (len(plan.unchanged), len(plan.transfers)) == ((0, 1) if verify else (1, 0))
    assert "of 1 objects only the size is stated" in caplog.text


def test_a_date_of_this_second_identifies_nothing(tmp_path: Path) -> None:
    second_ns = time.time_ns() // 10**9 * 10**9
    opener = published(tmp_path, checked=True, verified=False, etag=None, modified_ns=second_ns)
    assert len(planned([want(opener, tmp_path)]).transfers) == 1
