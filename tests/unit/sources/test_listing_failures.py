"""Listings of every source from servers that misbehave."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from kaiwo.errors import (
    CertificateError,
    NoAnswerError,
    TransientError,
    UnreachableError,
)
from kaiwo.protocols import Source
from kaiwo.tasks.base import Engine
from tests.support.broken_servers import (
    SECRET,
    closed,
    hangs_up,
    resets,
    resets_in_the_body,
    server,
)
from tests.support.spoiled_answers import (
    Reply,
    each_engine,
    each_store,
    each_type,
    replies,
    source,
)


@each_type
@pytest.mark.parametrize("treat", [resets, resets_in_the_body, hangs_up])
def test_every_source_takes_a_connection_that_is_cut_for_transient(
    type_: str, engine: Engine, treat: Callable[[socket.socket], None]
) -> None:
    with server(treat) as address, source(type_, address, engine) as opened:
        with pytest.raises(TransientError) as caught:
            list(opened.list(""))
        kinds = (
            (NoAnswerError,) if treat is not resets_in_the_body else (TransientError, NoAnswerError)
        )
        assert type(caught.value) in kinds
        assert SECRET not in caught.value.message


@each_type
def test_every_source_names_a_certificate_that_nobody_trusts(
    type_: str, engine: Engine, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with (
        server(lambda _: None, context) as address,
        source(type_, address, engine) as opened,
        pytest.raises(CertificateError, match="self-signed"),
    ):
        list(opened.list(""))


@each_type
def test_every_source_waits_for_a_service_that_is_not_up(type_: str, engine: Engine) -> None:
    with source(type_, closed(), engine) as opened, pytest.raises(UnreachableError):
        list(opened.list(""))


@each_store
@each_engine
@pytest.mark.parametrize(
    "page",
    [
        "<html><head><title>Sign in</title></head><body><form></form></body></html>",
        "<!doctype html><html><body><p>Sign in<br></body></html>",
        "<ListBucketResult/>",
        "<EnumerationResults/>",
        "<EnumerationResults><Blobs/></EnumerationResults>",
        "<other><Contents/></other>",
        "Sign in",
        "",
        "{}",
        "[]",
        "null",
        '{"items": null}',
    ],
)
def test_a_page_instead_of_a_listing_is_transient_and_no_empty_folder(
    type_: str, engine: Engine, page: str
) -> None:
    def spoil(answer: Reply) -> None:
        answer.status, answer.body = 200, page.encode()
        answer.headers = {"Content-Type": "text/html", "Content-Length": str(len(answer.body))}

    def outcome(opened: Source) -> object:
        try:
            return list(opened.list("folder/"))
        except Exception as error:
            return type(opened.classify(error))

    with server(replies(spoil)) as address, source(type_, address, engine) as opened:
        assert outcome(opened) is TransientError
