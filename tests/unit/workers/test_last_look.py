"""The last look at a file: what gets its name, and what is adopted under it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import DiskError, IntegrityError, WrongBytesError
from kaiwo.files import temporary_files
from kaiwo.jobs import (
    RANGE,
    Batch,
    CheckExisting,
    Crc,
    Finish,
    Mark,
    Outcome,
    PartialDownload,
    Transfer,
)
from kaiwo.objects import Checksum
from kaiwo.workers.jobs import run
from tests.support.faulty import FaultyOpener, FaultyStore, content, transfer_of

DATA = b"what the store holds"
MD5, CRC = (checksums.of_bytes(name, DATA) for name in ("md5", "crc32c"))
WRONG = Checksum("md5", "0" * 32)


def transfer(tmp_path: Path) -> Transfer:
    store = FaultyStore({"big": DATA}, "md5")
    return transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)


def finished(
    each: Transfer, data: bytes | None, stated: Checksum | None, found: Checksum | None
) -> Outcome:
    """What becomes of a temporary file with these bytes, or of none."""
    if data is not None:
        temporary_files.write_small(each.temporary, data)
    (outcome,) = run(Finish(each, stated, found))
    return outcome


def test_a_checksum_of_another_algorithm_than_the_stated_one_is_not_compared(
    tmp_path: Path,
) -> None:
    assert MD5 is not None
    assert CRC is not None
    each = transfer(tmp_path)
    outcome = finished(each, DATA, MD5, CRC)
    assert outcome.error is None
    assert (outcome.published, outcome.verified, outcome.checksum) == (True, True, MD5)
    assert Path(each.target).read_bytes() == DATA


def test_another_checksum_than_the_stated_one_is_not_published(tmp_path: Path) -> None:
    assert MD5 is not None
    for stated, found in ((MD5, WRONG), (WRONG, MD5)):
        each = transfer(tmp_path)
        outcome = finished(each, DATA, stated, found)
        assert (type(outcome.error), outcome.published) == (WrongBytesError, False)
        assert not Path(each.target).exists()


def test_what_no_store_has_stated_verifies_nothing(tmp_path: Path) -> None:
    outcome = finished(transfer(tmp_path), DATA, None, MD5)
    assert outcome.error is None
    assert (outcome.published, outcome.verified) == (True, False)


def test_a_small_file_that_cannot_get_its_name_leaves_nothing(tmp_path: Path) -> None:
    each = transfer(tmp_path)
    (Path(each.target) / "in the way").mkdir(parents=True)
    (outcome,) = run(Batch((each,)))
    assert (type(outcome.error), outcome.published) == (DiskError, False)
    assert not Path(each.temporary).exists()


@pytest.mark.parametrize("data", [None, DATA[:-1], DATA + b"."], ids=["none", "shorter", "longer"])
def test_a_temporary_file_of_another_size_is_not_published(
    tmp_path: Path, data: bytes | None
) -> None:
    assert MD5 is not None
    each = transfer(tmp_path)
    outcome = finished(each, data, MD5, MD5)
    assert (type(outcome.error), outcome.published) == (IntegrityError, False)
    assert not Path(each.target).exists()


@pytest.mark.parametrize("blob", [False, True])
@pytest.mark.parametrize(
    ("data", "adopted"),
    [(DATA, True), (DATA[:-1], False), (DATA + b".", False), (DATA[::-1], False)],
    ids=["right", "shorter", "longer", "other bytes"],
)
def test_a_file_is_adopted_only_when_all_of_it_is_right(
    tmp_path: Path, data: bytes, adopted: bool, blob: bool
) -> None:
    each = transfer(tmp_path)
    path = tmp_path / ("blob" if blob else "big")
    if blob:
        each = replace(each, blob=str(path))
    path.write_bytes(data)
    (outcome,) = run(CheckExisting(each))
    assert (outcome.error, outcome.adopted) == (None, adopted)
    assert (outcome.verified, outcome.checksum) == ((True, MD5) if adopted else (False, None))
    assert Path(each.target).is_symlink() is (blob and adopted)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("written", "adopted"),
    [((0, RANGE), True), ((0,), False), ((RANGE,), False), ((), False), (None, False)],
    ids=["all of it", "the first range", "the last range", "no range", "nothing known"],
)
@pytest.mark.parametrize("is_right", [True, False])
def test_without_a_checksum_what_an_earlier_run_wrote_down_is_proof(
    tmp_path: Path, written: tuple[int, ...] | None, adopted: bool, is_right: bool
) -> None:
    """But no verification: the store has stated nothing."""
    data = content(RANGE + 5)
    store = FaultyStore({"big": data}, None)
    each = transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)
    if written is not None:
        ranges = {start: data[start : start + RANGE] for start in written}
        marks = {
            start: Mark(start + len(own), Crc("crc32c", checksums.crc("crc32c", own)))
            for start, own in ranges.items()
        }
        each = replace(each, partial=PartialDownload("gone", marks))
    Path(each.target).write_bytes(data if is_right else data[:-1] + b"?")
    (outcome,) = run(CheckExisting(each))
    assert outcome.error is None
    assert outcome.adopted is (adopted and is_right)
    assert (outcome.verified, outcome.checksum) == (False, None)
