"""A range that is streamed: its bytes come as they arrive, and only the right ones."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from kaiwo.errors import ChangedError, DiskError, KaiwoError, TransientError
from kaiwo.protocols import Buffer
from kaiwo.tasks.base import Engine
from tests.support.proxies import Answer
from tests.support.quirks_pieces import PLACES, Parts, Place, place_of

#: The Hub gives smaller files itself, larger ones by another server.
SIZE = 900 << 10
DATA = random.Random(19).randbytes(SIZE)
START, END = 100_000, 800_000
PIECE = 100_000
STEP = 64 << 10
#: What obstore may hold back of a body that goes on.
HELD = 16 << 10
PATIENCE_S = 30.0


@pytest.fixture(params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest) -> Place:
    name: str
    engine: Engine
    name, engine = request.param
    return place_of(name, engine, DATA, request)


@pytest.fixture(params=[(START, END), (0, None)], ids=["range", "whole"])
def limits(request: pytest.FixtureRequest) -> tuple[int, int | None]:
    found: tuple[int, int | None] = request.param
    return found


class Received:
    """What a stream has brought, piece by piece; another thread may wait for it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._grown = threading.Condition()

    def gather(self, pieces: Iterator[Buffer]) -> None:
        for piece in pieces:
            assert 0 < len(piece) <= PIECE
            with self._grown:
                self.data += piece
                self._grown.notify()

    def take(self, chunk: Buffer) -> bool:
        with self._grown:
            self.data += chunk
            self._grown.notify()
        return True

    def wait_for(self, sent: int) -> None:
        """Until what was sent has come, but for what obstore may hold back."""
        with self._grown:
            assert self._grown.wait_for(lambda: len(self.data) >= sent - HELD, PATIENCE_S)


def test_each_piece_comes_while_the_rest_is_held_back(
    place: Place, limits: tuple[int, int | None]
) -> None:
    came = Received()

    def in_steps(body: bytes) -> Parts:
        for sent in range(0, len(body), STEP):
            came.wait_for(sent)
            yield body[sent : sent + STEP]

    with place.sending(in_steps) as source:
        came.gather(source.stream(place.remote, *limits, piece=PIECE))
    start, end = limits
    assert bytes(came.data) == DATA[start:end]


def test_what_came_before_a_cut_is_handed_on(place: Place, limits: tuple[int, int | None]) -> None:
    came = Received()

    def cut(body: bytes) -> Parts:
        yield body[: 5 * STEP]
        came.wait_for(5 * STEP)

    with place.sending(cut) as source, pytest.raises(TransientError) as caught:
        came.gather(source.stream(place.remote, *limits, piece=PIECE))
    assert place.remote.key in caught.value.message
    assert DATA[limits[0] :].startswith(came.data)


def test_all_bytes_are_asked_for_without_a_range(place: Place) -> None:
    asked: list[str] = []

    def note(_: str, __: str, answer: Answer) -> Answer:
        asked.extend(name.lower() for name in answer.asked)
        return answer

    with place.spoiled(note) as source:
        assert b"".join(source.stream(place.remote, 0, SIZE)) == DATA
    assert "host" in asked
    assert not {"range", "x-ms-range"} & set(asked)


def test_an_answer_that_is_longer_than_the_range_is_refused(place: Place) -> None:
    came = Received()

    def longer(_: str, __: str, answer: Answer) -> Answer:
        return replace(answer, body=answer.body + b"more")

    with place.spoiled(longer) as source, pytest.raises(TransientError):
        came.gather(source.stream(place.remote, START, END, PIECE))
    assert DATA[START:END].startswith(came.data)


def test_an_answer_that_states_a_shorter_length_is_refused(place: Place) -> None:
    came = Received()

    def shorter(_: str, __: str, answer: Answer) -> Answer:
        return replace(answer, body=answer.body[:STEP])

    with place.spoiled(shorter) as source, pytest.raises(TransientError):
        came.gather(source.stream(place.remote, START, END, PIECE))
    assert DATA[START:END].startswith(came.data)


def test_another_object_is_refused_before_its_first_piece(place: Place) -> None:
    names = {"etag": '"other"', "x-goog-generation": "7", "x-repo-commit": "0" * 40}
    names["last-modified"] = "Mon, 01 Jan 2001 00:00:00 GMT"

    def other(_: str, __: str, answer: Answer) -> Answer:
        stated = {k: names.get(k.lower(), v) for k, v in answer.headers.items()}
        return replace(answer, headers=stated)

    with place.spoiled(other) as source, pytest.raises(ChangedError):
        next(iter(source.stream(place.remote, START, END, PIECE)))


def test_an_iterator_that_is_closed_closes_its_connection(place: Place) -> None:
    gone = threading.Event()

    def trickle(body: bytes) -> Parts:
        try:
            yield body[: 2 * STEP]
            # The first bytes after the end are what tells the server.
            for at in range(2 * STEP, len(body) - 1):
                yield body[at : at + 1]
                gone.wait(0.01)
        finally:
            gone.set()

    with place.sending(trickle) as source:
        pieces = source.stream(place.remote, START, END, PIECE)
        assert next(pieces)
        pieces.close()  # type: ignore[attr-defined]  # all of them are generators
        assert gone.wait(PATIENCE_S)


def test_a_stream_ends_when_its_source_is_closed(place: Place) -> None:
    came, ended = threading.Event(), threading.Event()

    def held(body: bytes) -> Parts:
        yield body[: 2 * STEP]
        ended.wait(PATIENCE_S)

    def read() -> None:
        for _ in source.stream(place.remote, START, END, PIECE):
            came.set()

    with (
        contextlib.ExitStack() as stack,
        place.sending(held, closes=False) as source,
        ThreadPoolExecutor(1) as threads,
    ):
        stack.callback(ended.set)
        reading = threads.submit(read)
        assert came.wait(PATIENCE_S)
        source.close()
        assert isinstance(reading.exception(5.0), KaiwoError)
        ended.set()


def test_bytes_are_taken_where_they_arrive_and_what_is_left_is_handed_on(place: Place) -> None:
    came, sent = Received(), 0

    def in_steps(body: bytes) -> Parts:
        nonlocal sent
        for sent in range(0, len(body), STEP):
            came.wait_for(sent)
            yield body[sent : sent + STEP]

    def take(chunk: Buffer) -> bool:
        return len(came.data) < 4 * STEP and came.take(chunk)

    with place.sending(in_steps) as source:
        came.gather(source.stream_into(place.remote, START, END, PIECE, take))
    assert bytes(came.data) == DATA[START:END]


@pytest.mark.parametrize("length", [END - START - STEP, END - START + 4])
def test_a_body_of_another_length_is_refused_though_it_is_taken(place: Place, length: int) -> None:
    came = Received()

    def other(_: str, __: str, answer: Answer) -> Answer:
        return replace(answer, body=(answer.body + b"more")[:length])

    with place.spoiled(other) as source, pytest.raises(TransientError):
        came.gather(source.stream_into(place.remote, START, END, PIECE, came.take))


def test_an_error_of_who_takes_the_bytes_ends_the_stream(place: Place) -> None:
    gone = threading.Event()

    def refuse(chunk: Buffer) -> bool:
        if chunk:  # empty ones say when the request goes out, and when its answer has come
            raise DiskError("full")
        return True

    def endless(body: bytes) -> Parts:
        try:
            for at in range(0, len(body) - 1, STEP):
                yield body[at : at + STEP]
                gone.wait(0.01)
        finally:
            gone.set()

    with place.sending(endless) as source, contextlib.suppress(DiskError):
        for each in source.stream_into(place.remote, START, END, PIECE, refuse):
            refuse(each)
    assert gone.wait(PATIENCE_S)
