"""A range that is read once more: when it counts, and when it is written."""

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
    ("seen", "agrees", "held"),
    [
        ((), True, DATA),
        ((crc(IN_FRONT),), False, IN_FRONT),
        ((crc(IN_FRONT), crc(EARLIER)), False, IN_FRONT),
        ((crc(IN_FRONT), crc(DATA)), True, DATA),
        # That of the file in front: it is there already, and not written once more.
        ((crc(DATA), crc(EARLIER)), True, IN_FRONT),
    ],
    ids=["the first", "another", "another again", "one of those before", "that in the file"],
)
def test_only_what_agrees_and_is_not_there_is_written(
    tmp_path: Path, seen: tuple[int, ...], agrees: bool, held: bytes
) -> None:
    store = FaultyStore({"big": DATA})
    transfer = transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)
    temporary_files.create(transfer.temporary)
    temporary_files.write_range(transfer.temporary, IN_FRONT, 0)
    (outcome,) = run(Range(transfer, 0, len(DATA), ("crc32c",), seen=seen))
    assert outcome.error is None
    assert (outcome.agrees, outcome.crcs) == (agrees, (crc(DATA),))
    assert Path(transfer.temporary).read_bytes() == held
