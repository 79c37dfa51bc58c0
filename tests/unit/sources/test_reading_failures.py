"""Reads of every source from servers that misbehave, and from answers that are spoiled."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kaiwo.errors import (
    BusyError,
    CertificateError,
    ChangedError,
    KaiwoError,
    NoAnswerError,
    NotAcceptedError,
    NotAllowedYetError,
    NotFoundError,
    RangeIgnoredError,
    ServiceError,
    StalledError,
    TransientError,
    UnavailableError,
    UnreachableError,
    WrongRangeError,
)
from kaiwo.tasks.base import Engine
from tests.support.broken_servers import (
    SECRET,
    closed,
    hangs_up,
    resets,
    server,
    tls_of,
)
from tests.support.spoiled_answers import (
    READINGS,
    THEIR_WORDS,
    WAYS,
    Reply,
    another,
    cut_short,
    each_engine,
    each_range,
    each_store,
    each_way,
    failed,
    refuses,
    replies,
    resets_half_way,
    shifted,
    shorter,
    source,
    stalls_at_once,
    stalls_in_the_body,
    unnamed,
    whole,
    without_etag,
)


@each_store
@each_engine
def test_an_honest_server_is_read_in_every_way(type_: str, engine: Engine) -> None:
    with server(replies()) as address, source(type_, address, engine) as opened:
        for reading in READINGS.values():
            assert reading.of(opened) == reading.expected


@each_store
@each_way
@pytest.mark.parametrize(
    "treat",
    [resets_half_way, replies(cut_short)],
    ids=["reset in the body", "short body"],
)
def test_a_read_that_is_cut_is_transient(
    type_: str, engine: Engine, way: str, treat: Callable[[socket.socket], None]
) -> None:
    # Some clients say of a reset in the body the same as of one before the answer.
    assert type(failed(READINGS[way], type_, engine, treat)) in (TransientError, NoAnswerError)


@each_store
@each_way
@pytest.mark.parametrize("treat", [resets, hangs_up], ids=["reset", "hang-up"])
def test_a_read_that_is_closed_without_an_answer_is_told_from_one_that_is_cut(
    type_: str, engine: Engine, way: str, treat: Callable[[socket.socket], None]
) -> None:
    assert type(failed(READINGS[way], type_, engine, treat)) is NoAnswerError


@each_store
@each_way
@pytest.mark.parametrize("treat", [stalls_at_once, stalls_in_the_body])
def test_a_read_that_stalls_is_transient(
    type_: str, engine: Engine, way: str, treat: Callable[[socket.socket], None]
) -> None:
    found = failed(READINGS[way], type_, engine, treat)
    assert type(found) is StalledError
    assert "in time" in found.message


REFUSALS: dict[int, type[KaiwoError]] = {
    401: NotAllowedYetError,
    403: NotAllowedYetError,
    404: NotFoundError,
    409: ChangedError,
    412: ChangedError,
    416: ChangedError,
    429: BusyError,
    500: TransientError,
    502: NoAnswerError,
    503: UnavailableError,
}


@each_store
@each_engine
@pytest.mark.parametrize("status", REFUSALS)
def test_a_read_that_is_refused_is_told_by_its_status(
    type_: str, engine: Engine, status: int
) -> None:
    kind = REFUSALS[status]
    if type_ == "gcs" and status == 404:
        kind = ChangedError  # the generation that was planned is gone
    for way in WAYS[engine]:
        found = failed(READINGS[way], type_, engine, replies(refuses(status)))
        assert type(found) is kind, (way, found)


@each_store
@each_engine
def test_a_page_that_refuses_a_read_says_nothing_about_credentials(
    type_: str, engine: Engine
) -> None:
    # So does nginx to plain HTTP at a port of TLS; only the answer to a HEAD can say no more.
    def page(answer: Reply) -> None:
        refuses(400)(answer)
        answer.body = f"<html><body><h1>400 {THEIR_WORDS}<hr></body></html>".encode()
        answer.headers |= {"Content-Type": "text/html", "Content-Length": str(len(answer.body))}

    for way in WAYS[engine]:
        found = failed(READINGS[way], type_, engine, replies(page))
        assert type(found) is NotAcceptedError, (way, found)
        assert "400" in found.message


@each_store
@each_engine
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, NotAllowedYetError),
        (401, NotAllowedYetError),
        (403, NotAllowedYetError),
        (404, NotFoundError),
        (429, BusyError),
        (500, TransientError),
        (503, UnavailableError),
    ],
)
def test_an_object_that_cannot_be_looked_up_is_told_by_the_status(
    type_: str, engine: Engine, status: int, kind: type[KaiwoError]
) -> None:
    if (type_, status) in (("gcs", 400), ("azure-blob", 400)):
        kind = NotAcceptedError  # theirs have words
    with server(replies(refuses(status))) as address, source(type_, address, engine) as opened:
        with pytest.raises(KaiwoError) as caught:
            opened.stat("small")
        assert type(caught.value) is kind
        assert THEIR_WORDS not in caught.value.message


@each_engine
def test_an_object_in_an_archive_is_no_matter_of_credentials(engine: Engine) -> None:
    def archived(answer: Reply) -> None:
        answer.status, answer.body = 403, b"<Error><Code>InvalidObjectState</Code></Error>"
        answer.headers = {"Content-Length": str(len(answer.body))}

    for way in WAYS[engine]:
        found = failed(READINGS[way], "s3", engine, replies(archived))
        assert type(found) is ServiceError, (way, found)
        assert "restore it" in found.message


@each_store
@each_engine
@each_range
def test_another_range_than_was_asked_for_is_transient(
    type_: str, engine: Engine, way: str
) -> None:
    assert type(failed(READINGS[way], type_, engine, replies(shifted))) is WrongRangeError


@each_store
@each_engine
@each_range
def test_a_partial_answer_that_does_not_say_of_what_is_transient(
    type_: str, engine: Engine, way: str
) -> None:
    assert type(failed(READINGS[way], type_, engine, replies(unnamed))) is WrongRangeError


@each_store
@each_engine
@each_range
def test_a_server_that_ignores_ranges_is_told_as_that(type_: str, engine: Engine, way: str) -> None:
    assert type(failed(READINGS[way], type_, engine, replies(whole))) is RangeIgnoredError


@each_store
@each_engine
def test_objects_without_an_etag_are_read(type_: str, engine: Engine) -> None:
    with server(replies(without_etag)) as address, source(type_, address, engine) as opened:
        for reading in READINGS.values():
            assert reading.of(opened) == reading.expected


@each_store
@each_way
def test_a_body_that_is_shorter_than_its_headers_say_is_never_taken_for_the_range(
    type_: str, engine: Engine, way: str
) -> None:
    reading = READINGS[way]
    with (
        server(replies(shorter)) as address,
        source(type_, address, engine) as opened,
        # kaiwo's copier refuses what is too short, whoever has not noticed.
        contextlib.suppress(TransientError, ChangedError),
    ):
        assert len(reading.of(opened)) < reading.end - reading.start


@each_store
@each_engine
def test_an_answer_with_another_identity_is_never_taken(type_: str, engine: Engine) -> None:
    for way in WAYS[engine]:
        found = failed(READINGS[way], type_, engine, replies(another))
        assert type(found) is ChangedError, (way, found)


@each_store
@each_way
def test_a_read_of_a_host_that_is_not_there_is_waited_for(
    type_: str, engine: Engine, way: str
) -> None:
    for address in (closed(), "http://no-such-host.invalid"):
        with source(type_, address, engine) as opened, pytest.raises(UnreachableError) as caught:
            READINGS[way].of(opened)
        assert SECRET not in caught.value.message


@each_store
@each_way
def test_a_read_from_a_server_that_nobody_trusts_says_what_to_do(
    type_: str, engine: Engine, way: str, certificate: Path
) -> None:
    with (
        server(replies(), tls_of(certificate)) as address,
        source(type_, address, engine) as opened,
        pytest.raises(CertificateError, match=r"self-signed .*ca_bundle"),
    ):
        READINGS[way].of(opened)


@each_store
@each_engine
def test_an_authority_that_is_the_servers_own_certificate_is_trusted_once_it_is_given(
    type_: str, engine: Engine, own_authority: Path
) -> None:
    with (
        server(replies(), tls_of(own_authority)) as address,
        source(type_, address, engine, own_authority) as opened,
    ):
        for reading in READINGS.values():
            assert reading.of(opened) == reading.expected
