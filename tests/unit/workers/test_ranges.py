"""A range that is read once more counts when it agrees with an earlier read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo import checksums
from kaiwo.files import temporary_files
from kaiwo.jobs import Range
from kaiwo.workers.jobs import run
from tests.support.faulty import FaultyOpener, FaultyStore, transfer_of

DATA = b"what the store holds"
IN_FRONT, EARLIER = b"what was read first ", b"what was read second"


def crc(data: bytes) -> int:
    return checksums.crc("crc32c", data)


@pytest.mark.parametrize(
    ("seen", "agrees"),
    [
        ((), True),
        ((crc(IN_FRONT),), False),
        ((crc(IN_FRONT), crc(EARLIER)), False),
        ((crc(IN_FRONT), crc(DATA)), True),
        ((crc(DATA), crc(EARLIER)), True),
    ],
    ids=["the first", "another", "another again", "the last", "the first of all"],
)
def test_the_file_holds_what_was_read_last(
    tmp_path: Path, seen: tuple[int, ...], agrees: bool
) -> None:
    store = FaultyStore({"big": DATA})
    transfer = transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)
    temporary_files.create(transfer.temporary)
    temporary_files.write_range(transfer.temporary, [IN_FRONT], 0)
    (outcome,) = run(Range(transfer, 0, len(DATA), ("crc32c",), seen=seen))
    assert outcome.error is None
    assert (outcome.agrees, outcome.crcs) == (agrees, (crc(DATA),))
    assert Path(transfer.temporary).read_bytes() == DATA
