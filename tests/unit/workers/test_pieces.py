"""A range that comes in pieces: written as they arrive, and continued where it was cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import BugError, TransientError
from kaiwo.files import temporary_files
from kaiwo.jobs import Batch, Crc, Mark, PartialDownload, Progress, Range, Transfer
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.workers import reading
from kaiwo.workers.jobs import run
from kaiwo.workers.progress import listen, new_channel
from kaiwo.workers.reading import Reading
from tests.support.faulty import FaultyOpener, FaultyStore, content, transfer_of

DATA = content(1000)
START, END, CUT = 100, 900, 300
IN_PIECES = Reading(piece=64, channel=new_channel())


class Cut(FaultyStore):
    """Its next stream ends with an error after so many bytes."""

    def __init__(self, data: bytes, after: int) -> None:
        super().__init__({"big": data})
        self.after: int | None = after

    def stream(self, remote: RemoteObject, *limits: Any, **named: Any) -> Iterator[Buffer]:
        left, self.after = self.after, None
        for piece in super().stream(remote, *limits, **named):
            if left is not None and len(piece) > left:
                yield piece[:left]
                raise TransientError("cut")
            left = None if left is None else left - len(piece)
            yield piece


def crc(data: bytes) -> int:
    return checksums.crc("crc64nvme", data)


def mark(data: bytes, end: int) -> Mark:
    return Mark(end, Crc("crc64nvme", crc(data)))


@pytest.fixture(autouse=True)
def every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is written and reported, as on a slow line."""
    monkeypatch.setattr(reading, "PIECE_S", 0.0)


def began(store: FaultyStore, root: Path) -> Transfer:
    transfer = transfer_of(FaultyOpener(store), store.remote("big"), root)
    temporary_files.create(transfer.temporary)
    return transfer


def written(transfer: Transfer) -> bytes:
    return Path(transfer.temporary).read_bytes()[START:]


def test_each_piece_is_in_the_file_when_it_is_reported(tmp_path: Path) -> None:
    transfer = began(FaultyStore({"big": DATA}), tmp_path)
    seen: list[Progress] = []

    def take(progress: Progress) -> None:
        seen.append(progress)
        assert progress.mark is not None
        there = written(transfer)
        assert there == DATA[START : progress.mark.end]
        assert progress.mark == mark(there, progress.mark.end)

    assert IN_PIECES.channel is not None
    with listen(IN_PIECES.channel, take):
        (outcome,) = run(Range(transfer, START, END, ("crc64nvme", "crc32c")), IN_PIECES)
    assert (outcome.error, outcome.bytes, outcome.reached) == (None, END - START, END)
    assert outcome.crcs[0] == crc(DATA[START:END])
    # The last piece comes with the outcome.
    assert sum(each.bytes for each in seen) == (END - START) // 64 * 64
    assert written(transfer) == DATA[START:END]


@pytest.mark.parametrize(("how", "is_known"), [(IN_PIECES, True), (reading.AT_ONCE, False)])
def test_only_pieces_tell_when_the_first_byte_came(
    tmp_path: Path, how: Reading, is_known: bool
) -> None:
    transfer = began(FaultyStore({"big": DATA}), tmp_path)
    (outcome,) = run(Range(transfer, START, END, ("crc32c",)), how)
    assert (outcome.error, bool(outcome.answer_s)) == (None, is_known)
    assert outcome.answer_s < outcome.seconds


def test_what_came_before_a_cut_is_kept_and_not_read_again(tmp_path: Path) -> None:
    store = Cut(DATA, CUT)
    transfer = began(store, tmp_path)
    job = Range(transfer, START, END, ("crc64nvme", "crc32c"))
    (first,) = run(job, IN_PIECES)
    assert isinstance(first.error, TransientError)
    assert (first.bytes, first.reached, first.error.reached) == (CUT, START + CUT, START + CUT)
    assert written(transfer) == DATA[START : START + CUT]
    (second,) = run(replace(job, reached=first.reached, crcs=first.crcs), IN_PIECES)
    assert (second.error, second.bytes, second.reached) == (None, END - START - CUT, END)
    assert second.crcs == tuple(checksums.crc(each, DATA[START:END]) for each in job.checks)
    assert store.reads == [("big", START, END), ("big", START + CUT, END)]
    assert written(transfer) == DATA[START:END]


@pytest.mark.parametrize("how", [IN_PIECES, reading.AT_ONCE], ids=["in pieces", "at once"])
@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("place", ["this run's", "another's"])
def test_of_what_an_earlier_run_wrote_only_the_rest_is_read(
    tmp_path: Path, how: Reading, is_right: bool, place: str
) -> None:
    store = FaultyStore({"big": DATA})
    transfer = began(store, tmp_path)
    there, path = DATA[START : START + CUT], transfer.temporary
    if place == "another's":
        path = str(tmp_path / "other.part")
        temporary_files.create(path)
        transfer = replace(transfer, partial=PartialDownload(path))
    temporary_files.write_range(path, [there if is_right else there[:-1] + b"?"], START)
    known = mark(there, START + CUT)
    (outcome,) = run(Range(transfer, START, END, ("crc32c",), known), how)
    kept = CUT if is_right else 0
    assert (outcome.error, outcome.kept, outcome.bytes) == (None, kept, END - START - kept)
    assert store.reads == [("big", START + kept, END)]
    assert outcome.crcs == (checksums.crc("crc32c", DATA[START:END]),)
    assert written(transfer) == DATA[START:END]


@pytest.mark.parametrize("size", [END - 1, END + 1], ids=["short", "long"])
def test_other_than_the_bytes_that_were_asked_for_is_an_error(tmp_path: Path, size: int) -> None:
    class Other(FaultyStore):
        def stream(self, *_: Any, **__: Any) -> Iterator[Buffer]:
            yield content(size - START)

    transfer = began(Other({"big": DATA}), tmp_path)
    (outcome,) = run(Range(transfer, START, END, ("crc32c",)), IN_PIECES)
    assert isinstance(outcome.error, TransientError)
    assert outcome.reached < END


def test_a_small_object_is_reported_as_it_arrives(tmp_path: Path) -> None:
    store = FaultyStore({"big": DATA})
    seen: list[int] = []
    assert IN_PIECES.channel is not None
    with listen(IN_PIECES.channel, lambda each: seen.append(each.bytes)):
        (outcome,) = run(
            Batch((transfer_of(FaultyOpener(store), store.remote("big"), tmp_path),)), IN_PIECES
        )
    assert (outcome.error, outcome.published) == (None, True)
    assert sum(seen) == len(DATA) // 64 * 64
    assert (tmp_path / "big").read_bytes() == DATA


def test_a_connection_that_creeps_is_given_up_and_what_it_brought_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CREEPS_S", 0.0)
    transfer = began(FaultyStore({"big": DATA}), tmp_path)
    job = Range(transfer, START, END, ("crc32c",))
    (outcome,) = run(job, replace(IN_PIECES, least_rate=1e12))
    assert isinstance(outcome.error, TransientError)
    assert "far fewer" in outcome.error.message
    (outcome,) = run(job, replace(IN_PIECES, least_rate=1e-3))
    assert outcome.error is None


def test_an_unforeseen_error_of_a_stream_is_classified(tmp_path: Path) -> None:
    class Broken(FaultyStore):
        def stream(self, *_: Any, **__: Any) -> Iterator[Buffer]:
            yield DATA[START : START + 9]
            raise ZeroDivisionError

    (outcome,) = run(
        Range(began(Broken({"big": DATA}), tmp_path), START, END, ("crc32c",)), IN_PIECES
    )
    assert isinstance(outcome.error, BugError)


def test_a_channel_that_nobody_listens_to_is_silent(tmp_path: Path) -> None:
    transfer = began(FaultyStore({"big": DATA}), tmp_path)
    (outcome,) = run(Range(transfer, START, END, ("crc32c",)), Reading(64, 0.0, new_channel()))
    assert outcome.error is None
