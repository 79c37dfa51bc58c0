"""An object that is read in one stream: only one of the planned length goes on to be published."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo import checksums
from kaiwo.errors import TransientError
from kaiwo.jobs import Whole
from kaiwo.workers.jobs import run
from tests.support.faulty import STREAM, FaultyOpener, FaultyStore, transfer_of

DATA = b"what the store holds"


@pytest.mark.parametrize("other", [DATA[:-1], b"", DATA + b"."], ids=["shorter", "empty", "longer"])
def test_a_stream_of_another_length_is_an_error(tmp_path: Path, other: bytes) -> None:
    store = FaultyStore({"big": DATA})
    store.script(("big", STREAM), lambda _: other)
    transfer = transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)
    (outcome,) = run(Whole(transfer, "md5"))
    assert isinstance(outcome.error, TransientError)
    assert f"after {len(other)} of {len(DATA)} bytes" in outcome.error.message
    assert (outcome.bytes, outcome.published, outcome.checksum) == (len(other), False, None)


def test_a_stream_of_the_planned_length_has_its_checksum(tmp_path: Path) -> None:
    store = FaultyStore({"big": DATA})
    transfer = transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)
    (outcome,) = run(Whole(transfer, "md5"))
    assert (outcome.error, outcome.published) == (None, False)
    assert outcome.checksum == checksums.of_bytes("md5", DATA)
    assert Path(transfer.temporary).read_bytes() == DATA
