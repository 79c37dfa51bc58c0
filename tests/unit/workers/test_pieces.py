"""A range that comes in pieces: written as they arrive, and continued where it was cut."""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import BugError, DiskError, TransientError, UnfinishedError
from kaiwo.files import temporary_files
from kaiwo.jobs import Batch, Crc, Mark, PartialDownload, Progress, Range, Transfer
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Take
from kaiwo.sources.pieces import Taken
from kaiwo.workers import reading
from kaiwo.workers.disk_waits import disk_waits
from kaiwo.workers.jobs import run
from kaiwo.workers.progress import listen, new_channel
from kaiwo.workers.reading import Reading
from kaiwo.workers.threads import WorkerThreads
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


class ElsewhereRead(FaultyStore):
    """Its bytes are offered in another thread than that of the job, each piece twice as late."""

    def __init__(self, data: bytes) -> None:
        super().__init__({"big": data})
        #: The threads that took a piece.
        self.takers: list[int] = []

    def stream_into(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take
    ) -> Iterator[Buffer]:
        taken = Taken(take)
        with ThreadPoolExecutor(1) as reader:
            for each in self.stream(remote, start, end, piece):
                if reader.submit(taken.offer, each).result():
                    self.takers.append(reader.submit(threading.get_ident).result())
                else:
                    self.takers.append(threading.get_ident())
                    yield each


def test_pieces_are_written_in_the_thread_that_reads_them(tmp_path: Path) -> None:
    store = ElsewhereRead(DATA)
    transfer = began(store, tmp_path)
    (outcome,) = run(Range(transfer, START, END, ("crc64nvme",)), IN_PIECES)
    assert (outcome.error, outcome.bytes, outcome.reached) == (None, END - START, END)
    assert outcome.crcs[0] == crc(DATA[START:END])
    assert written(transfer) == DATA[START:END]
    assert threading.get_ident() not in store.takers


def test_a_write_that_fails_in_passing_is_repeated_in_the_thread_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ElsewhereRead(DATA)
    failed: list[int] = []
    transfer = began(store, tmp_path)
    write = os.pwrite

    def fail_once(descriptor: int, data: Buffer, offset: int) -> int:
        if offset > START and not failed:
            failed.append(threading.get_ident())
            raise OSError(errno.ESTALE, "Stale file handle")
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", fail_once)
    (outcome,) = run(Range(transfer, START, END, ("crc64nvme",)), IN_PIECES)
    assert (outcome.error, outcome.reached) == (None, END)
    assert outcome.crcs[0] == crc(DATA[START:END])
    assert written(transfer) == DATA[START:END]
    assert failed != [threading.get_ident()]
    # The first piece was written, and the second taken; the thread of the job took the third.
    assert [each == threading.get_ident() for each in store.takers[:3]] == [False, False, True]


def test_a_disk_that_refuses_ends_the_range_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    transfer = began(ElsewhereRead(DATA), tmp_path)
    monkeypatch.setattr(os, "pwrite", refuse)
    (outcome,) = run(Range(transfer, START, END, ("crc64nvme",)), IN_PIECES)
    assert isinstance(outcome.error, DiskError)
    assert "free some space" in outcome.error.message
    assert outcome.reached == START


def test_while_the_disk_is_waited_for_long_the_threads_of_the_jobs_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_waits, "are_long", lambda: True)
    store = ElsewhereRead(DATA)
    transfer = began(store, tmp_path)
    (outcome,) = run(Range(transfer, START, END, ("crc64nvme",)), IN_PIECES)
    assert outcome.error is None
    assert written(transfer) == DATA[START:END]
    assert set(store.takers) == {threading.get_ident()}


def test_nothing_is_written_once_the_run_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ElsewhereRead(DATA)
    transfer = began(store, tmp_path)
    with WorkerThreads(1, "test") as threads:
        offer = temporary_files.write_range_once

        def write_and_end(*args: Any) -> None:
            offer(*args)
            threads.shutdown(wait=False, cancel_futures=True)

        monkeypatch.setattr(temporary_files, "write_range_once", write_and_end)
        (outcome,) = threads.submit(
            run, Range(transfer, START, END, ("crc64nvme",)), IN_PIECES
        ).result()
    assert isinstance(outcome.error, UnfinishedError)
    assert written(transfer) == DATA[START : START + 64]


@pytest.mark.parametrize(("how", "is_known"), [(IN_PIECES, True), (reading.AT_ONCE, False)])
def test_only_pieces_tell_when_the_first_byte_came(
    tmp_path: Path, how: Reading, is_known: bool
) -> None:
    transfer = began(FaultyStore({"big": DATA}), tmp_path)
    (outcome,) = run(Range(transfer, START, END, ("crc32c",)), how)
    assert (outcome.error, bool(outcome.answer_s)) == (None, is_known)
    assert outcome.answer_s < outcome.seconds


class LateBody(FaultyStore):
    """Five seconds until its request goes out, one for the answer, one for each piece."""

    def __init__(self, data: bytes) -> None:
        super().__init__({"big": data})
        self.now_s = 0.0

    def stream_into(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take
    ) -> Iterator[Buffer]:
        self.now_s += 5.0
        assert take(b"")
        self.now_s += 1.0
        assert take(b"")
        for each in self.stream(remote, start, end, piece):
            self.now_s += 1.0
            assert take(each)
        return iter(())


def test_from_the_request_to_its_answer_is_told_with_the_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LateBody(DATA)
    transfer = began(store, tmp_path)
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: store.now_s))
    told: list[Progress] = []
    assert IN_PIECES.channel is not None
    with listen(IN_PIECES.channel, told.append):
        (outcome,) = run(Range(transfer, START, END, ("crc64nvme",)), IN_PIECES)
    assert (outcome.error, outcome.answer_s) == (None, 1.0)
    assert outcome.crcs[0] == crc(DATA[START:END])
    assert [each.answer_s for each in told] == [1.0, *[0.0] * (len(told) - 1)]
    assert len(told) > 1
    assert all(each.bytes for each in told)


def test_of_a_small_object_too_the_time_since_its_request_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LateBody(DATA)
    transfer = transfer_of(FaultyOpener(store), store.remote("big"), tmp_path)
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: store.now_s))
    (outcome,) = run(Batch((transfer,)), IN_PIECES)
    assert (outcome.error, outcome.answer_s) == (None, 1.0)


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


def test_an_error_that_is_kept_keeps_no_connection_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []

    class Open(FaultyStore):
        def stream(self, *limits: Any, **named: Any) -> Iterator[Buffer]:
            try:
                yield from super().stream(*limits, **named)
            finally:
                closed.append(True)

    monkeypatch.setattr(reading, "CREEPS_S", 0.0)
    monkeypatch.setattr(disk_waits, "are_long", lambda: True)
    gc.disable()
    try:
        (outcome,) = run(
            Range(began(Open({"big": DATA}), tmp_path), START, END, ("crc32c",)),
            replace(IN_PIECES, least_rate=1e12),
        )
        assert isinstance(outcome.error, TransientError)
        assert closed
    finally:
        gc.enable()


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
