"""A part of an object that other runs bring parts of: nothing of theirs is ever touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import ChangedError, KaiwoError, NotFoundError, RangeIgnoredError
from kaiwo.jobs import RANGE, Plan, Range, Transfer, Whole
from kaiwo.state.state import State
from tests.support.faulty import (
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    Ran,
    carry_out,
    content,
    fails,
    plan_of,
)

TOKEN = "0123456789abcdef"
DATA = content(3 * RANGE - 5)
#: What another run has written.
THEIRS = b"t" * RANGE


def part_of(store: FaultyStore, root: Path) -> Transfer:
    """The second range and the last one, in a file that has the first."""
    (transfer,) = plan_of(FaultyOpener(store), root).transfers
    transfer = replace(transfer, run=TOKEN, part=(RANGE, len(DATA)))
    Path(transfer.temporary).write_bytes(THEIRS)
    return transfer


def fetch(store: FaultyStore, root: Path) -> tuple[Ran, InlineExecutor, bytes]:
    state, executor, transfer = State(run="99"), InlineExecutor(), part_of(store, root)
    state.share(TOKEN)
    ran = carry_out(Plan((transfer,)), root, executor, memory=state)
    assert not (root / "big").exists()
    return ran, executor, Path(transfer.temporary).read_bytes()


def test_a_part_is_there_when_its_ranges_are(tmp_path: Path) -> None:
    ran, executor, there = fetch(FaultyStore({"big": DATA}), tmp_path)
    assert ran.report.ok
    assert (ran.item("big").status, ran.item("big").bytes) == ("downloaded", len(DATA) - RANGE)
    assert [job.start for job in executor.of(Range)] == [RANGE, 2 * RANGE]
    assert there == THEIRS + DATA[RANGE:]
    # Another run of these finds what it has noted.
    state = State(run="100")
    state.share(TOKEN)
    (transfer,) = plan_of(FaultyOpener(FaultyStore({"big": DATA})), tmp_path).transfers
    found = state.partial_download(replace(transfer, run=TOKEN))
    assert found is not None
    assert sorted(found.marks) == [RANGE, 2 * RANGE]


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(RangeIgnoredError("200"), 5), (ChangedError("412"), 7), (NotFoundError("404"), 7)],
)
def test_a_part_that_cannot_be_had_leaves_those_of_others(
    tmp_path: Path, error: KaiwoError, exit_code: int
) -> None:
    store = FaultyStore({"big": DATA})
    store.always(("big", 2 * RANGE), fails(error))
    ran, executor, there = fetch(store, tmp_path)
    assert ran.report.exit_code == exit_code
    assert not executor.of(Whole)
    assert there[:RANGE] == THEIRS
