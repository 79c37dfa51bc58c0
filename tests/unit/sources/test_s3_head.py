"""The signed HEAD of S3: its signature and its token stay with the host that they are for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from kaiwo.errors import UnfinishedError
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import RefusedError
from kaiwo.sources.s3_head import Head, HeadRequest
from tests.servers.web import Page, Site, site


@pytest.fixture
def bucket() -> Iterator[Site]:
    with site() as found:
        yield found


def head(base: str) -> Head:
    def keys() -> tuple[str, str, str | None]:
        return "access", "secret", "session"

    return Head(HeadRequest(base, "us-east-1", keys, None, False, NetworkSettings()))


def test_what_the_headers_state_is_the_object(bucket: Site) -> None:
    bucket.pages["/bucket/a%20b"] = Page(
        b"data", {"ETag": '"x"', "x-amz-checksum-crc32c": "AAAAAA=="}
    )
    with contextlib.closing(head(f"{bucket.at}/bucket")) as look:
        remote = look("a b")
    assert (remote.size, remote.etag) == (4, "x")
    headers = {name.lower(): value for name, value in bucket.asked[0][2].items()}
    assert headers["x-amz-security-token"] == "session"
    assert "Signature=" in headers["authorization"]


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_gets_neither_signature_nor_token(bucket: Site, status: int) -> None:
    with site() as other, contextlib.closing(head(f"{bucket.at}/bucket")) as look:
        other.pages["/key"] = Page(b"data")
        location = {"Location": f"{other.at}/key"}
        bucket.pages["/bucket/key"] = Page(b"", location, head=status)
        with pytest.raises(RefusedError) as caught:
            look("key")
        assert caught.value.status == status
        assert other.asked == []


def test_a_source_that_is_closed_sends_nothing(bucket: Site) -> None:
    look = head(f"{bucket.at}/bucket")
    look.close()
    with pytest.raises(UnfinishedError):
        look("key")
    assert bucket.asked == []
