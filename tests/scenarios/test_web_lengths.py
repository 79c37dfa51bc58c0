"""Lengths that contradict each other: HEAD and GET, encoded and plain, one answer and the next."""

from __future__ import annotations

import gzip
import hashlib
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kaiwo
from kaiwo.errors import ServiceError, TransientError
from kaiwo.jobs import RANGE
from tests.servers import web
from tests.servers.web import Page, Site
from tests.support import broken_servers
from tests.support.command import tree
from tests.support.faulty import content
from tests.support.quirks_lengths import Closing, Encoding

TEXT = b"a,b\n" * 5000
STATED = [
    {"ETag": '"1"'},
    {"ETag": 'W/"1"'},
    {"Last-Modified": "Wed, 02 Jan 2019 10:00:00 GMT"},
    {},
]


@pytest.fixture
def site(loopback_only: None) -> Iterator[Site]:
    with web.site() as found:
        yield found


def fetched(site: Site, root: Path, name: str = "a.csv") -> bytes:
    item = {"file": f"{site.at}/{name}", "target_path": name}
    config = {"download_root": str(root), "download_items": [{"type": "url", "items": [item]}]}
    report = kaiwo.download(config, retries=1, startup_wait=0, progress="none")
    if (error := report.items[0].error) is not None:
        raise error
    return (root / name).read_bytes()


# --- encodings --------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [TEXT, b"hello", content(3000), content(RANGE + 9)],
                         ids=["text", "shorter", "longer", "large"])  # fmt: skip
@pytest.mark.parametrize("head_encoded", [True, False], ids=["stated", "unstated"])
@pytest.mark.parametrize("stated", STATED, ids=["strong", "weak", "date", "nothing"])
def test_a_head_of_the_encoded_body_is_no_word_about_the_file(
    site: Site, tmp_path: Path, data: bytes, stated: dict[str, str], *, head_encoded: bool
) -> None:
    """Whatever comes then: plain or encoded, in chunks or with its length."""
    length = len(gzip.compress(data))
    for number, (get_encoded, chunked) in enumerate([(False, False), (False, True), (True, True)]):
        site.pages["/a.csv"] = Encoding(
            data,
            dict(stated),
            head_length=length,
            head_encoded=head_encoded,
            get_encoded=get_encoded,
            chunked=chunked,
        )
        assert fetched(site, tmp_path / str(number)) == data


@pytest.mark.parametrize("stated", STATED, ids=["strong", "weak", "date", "nothing"])
@pytest.mark.parametrize("head_length", [len(TEXT), 0, None], ids=["plain", "zero", "none"])
@pytest.mark.parametrize("head_encoded", [True, False], ids=["stated", "unstated"])
def test_a_head_with_the_plain_length_or_none_suits_any_body(
    site: Site,
    tmp_path: Path,
    stated: dict[str, str],
    head_length: int | None,
    *,
    head_encoded: bool,
) -> None:
    kinds = [(False, False), (False, True), (True, True)]
    if head_length:
        kinds.append((True, False))
    for number, (get_encoded, chunked) in enumerate(kinds):
        site.pages["/a.csv"] = Encoding(
            TEXT,
            dict(stated),
            head_length=head_length,
            head_encoded=head_encoded,
            get_encoded=get_encoded,
            chunked=chunked,
        )
        assert fetched(site, tmp_path / str(number)) == TEXT


def test_the_etag_of_a_head_may_be_that_of_the_encoded_body(site: Site, tmp_path: Path) -> None:
    class Apache(Encoding):
        def answer(self, method: str, asked: str) -> tuple[int, dict[str, str], bytes]:
            status, headers, body = super().answer(method, asked)
            return status, headers | ({"ETag": '"1-gzip"'} if method == "HEAD" else {}), body

    for number, chunked in enumerate([True, False]):
        site.pages["/a.csv"] = Apache(TEXT, head_length=140, chunked=chunked)
        assert fetched(site, tmp_path / str(number)) == TEXT


def unsized(packed: bytes, encoding: str = "gzip") -> Page:
    frame = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed) if packed else b"0\r\n\r\n"
    headers = {"Transfer-Encoding": "chunked", "Content-Encoding": encoding, "ETag": '"1"'}

    class Chunked(Page):
        def answer(self, method: str, asked: str) -> tuple[int, dict[str, str], bytes]:
            del asked
            return 200, dict(self.headers), b"" if method == "HEAD" else self.body

    return Chunked(frame, headers)


def test_all_members_of_gzip_are_decoded(site: Site, tmp_path: Path) -> None:
    """So do ``bgzip`` and ``pigz -i`` write."""
    members = [gzip.compress(TEXT), gzip.compress(b""), gzip.compress(content(70_000)), b"\0" * 512]
    site.pages["/a.csv"] = unsized(b"".join(members))
    assert fetched(site, tmp_path) == TEXT + content(70_000)


@pytest.mark.parametrize("more", [b"garbage", gzip.compress(TEXT)[:-5]], ids=["garbage", "cut"])
def test_what_follows_gzip_and_is_none_is_refused(site: Site, tmp_path: Path, more: bytes) -> None:
    site.pages["/a.csv"] = unsized(gzip.compress(TEXT) + more)
    with pytest.raises(ServiceError, match="gzip-encoded although identity was requested"):
        fetched(site, tmp_path)
    assert tree(tmp_path) == {}


def test_deflate_without_the_header_of_zlib_is_decoded(site: Site, tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    site.pages["/a.csv"] = unsized(packer.compress(TEXT) + packer.flush(), "deflate")
    assert fetched(site, tmp_path) == TEXT


def test_nothing_that_is_encoded_is_an_empty_file(site: Site, tmp_path: Path) -> None:
    site.pages["/a.csv"] = unsized(b"")
    assert fetched(site, tmp_path) == b""


def test_a_checksum_of_the_encoded_body_is_not_that_of_the_file(site: Site, tmp_path: Path) -> None:
    packed = gzip.compress(TEXT)
    page = unsized(packed)
    page.headers["Content-MD5"] = hashlib.md5(packed).hexdigest()
    site.pages["/a.csv"] = page
    assert fetched(site, tmp_path) == TEXT
    # GCS decodes what it keeps encoded, and states the checksum of what it keeps.
    site.pages["/b.csv"] = Page(
        TEXT,
        {"X-Goog-Stored-Content-Encoding": "gzip", "ETag": '"1"',
         "X-Goog-Hash": f"md5={hashlib.md5(packed).hexdigest()}"},
    )  # fmt: skip
    assert fetched(site, tmp_path, "b.csv") == TEXT


# --- answers that end with their connection ---------------------------------------------------


@pytest.mark.parametrize("head_length", [10_000, None], ids=["head", "none"])
def test_an_answer_that_another_one_contradicts_is_not_published(
    site: Site, tmp_path: Path, head_length: int | None
) -> None:
    whole, cut = content(10_000), content(4_000)

    class Cut(Closing):
        """The first answers lack their end."""

        def answer(self, method: str, asked: str) -> tuple[int, dict[str, str], bytes]:
            is_first = len(self.bodies) > 1
            status, headers, body = super().answer(method, asked)
            if method == "GET" and is_first and head_length is None:
                headers = {**headers, "Transfer-Encoding": "chunked"}
                body = b"%x\r\n%b\r\n" % (len(body), body)  # no last chunk
            return status, headers, body

    site.pages["/a.csv"] = Cut(bodies=[whole, whole, whole, cut], head_length=head_length)
    if head_length:
        site.pages["/a.csv"] = Cut(bodies=[cut], head_length=head_length)
    with pytest.raises(
        TransientError, match=r"ended after 4000 bytes, an earlier|got 4000 bytes instead of 10000"
    ):
        fetched(site, tmp_path)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "whole", "cut"),
    [
        # Stored as it comes: nobody reads the end of gzip there.
        ("a.csv.gz", gzip.compress(content(10_000)), gzip.compress(content(10_000))[:4_000]),
        ("a.csv", gzip.compress(content(10_000)), b""),
    ],
    ids=["stored", "empty"],
)
def test_an_encoded_answer_that_is_shorter_than_one_before_is_cut(
    site: Site, tmp_path: Path, name: str, whole: bytes, cut: bytes
) -> None:
    class Cut(Closing):
        """The first answers lack their last chunk."""

        def answer(self, method: str, asked: str) -> tuple[int, dict[str, str], bytes]:
            is_first = len(self.bodies) > 1
            status, headers, body = super().answer(method, asked)
            if method == "GET" and is_first:
                headers = {**headers, "Transfer-Encoding": "chunked"}
                body = b"%x\r\n%b\r\n" % (len(body), body)
            return status, headers, body

    site.pages[f"/{name}"] = Cut(
        b"", {"Content-Encoding": "gzip"}, bodies=[whole, whole, whole, cut]
    )
    with pytest.raises(TransientError, match=r"ended after \d+ bytes, an earlier"):
        fetched(site, tmp_path, name)
    assert tree(tmp_path) == {}


def test_an_answer_that_is_longer_than_a_head_says_proves_the_head_wrong(
    site: Site, tmp_path: Path
) -> None:
    site.pages["/a.csv"] = Closing(b"", {"ETag": '"1"'}, bodies=[TEXT], head_length=140)
    assert fetched(site, tmp_path) == TEXT


# --- statuses ---------------------------------------------------------------------------------


def test_203_is_a_success(site: Site, tmp_path: Path) -> None:
    site.pages["/a.csv"] = Page(TEXT, {"ETag": '"1"'}, head=203, status=203)
    assert fetched(site, tmp_path) == TEXT
    site.pages["/b.csv"] = Page(TEXT, head=405, status=203, sized=False)
    assert fetched(site, tmp_path, "b.csv") == TEXT
    links = Page(b'<a href="a.csv">', {"Content-Type": "text/html"}, head=203, status=203)
    site.pages["/d/"], site.pages["/d/a.csv"] = links, site.pages["/a.csv"]
    assert tree(kaiwo.fetch(f"{site.at}/d/", tmp_path / "d")) == {"a.csv": TEXT}


@pytest.mark.parametrize("status", [204, 205])
def test_no_content_is_no_file(site: Site, tmp_path: Path, status: int) -> None:
    site.pages["/a.csv"] = Page(TEXT, {"ETag": '"1"'}, head=status)
    assert fetched(site, tmp_path) == TEXT
    for head in (status, 200):
        site.pages["/b.csv"] = Page(b"", {"ETag": '"1"'}, head=head, status=status)
        with pytest.raises(ServiceError, match=f"{status}: the server's answer is not the file"):
            fetched(site, tmp_path, "b.csv")
    assert tree(tmp_path) == {"a.csv": TEXT}


# --- what is no length ------------------------------------------------------------------------

CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(TEXT), TEXT)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("Transfer-Encoding", "chunked"), ("Content-Length", "100")], CHUNKS),
        ([("Transfer-Encoding", "identity")], TEXT),
        ([("Content-Length", "9" * 5000)], TEXT),
        ([("Content-Length", "-1")], TEXT),
        ([("Content-Length", f"{len(TEXT)}, {len(TEXT)}")], TEXT),
    ],
)
def test_what_is_no_length_is_taken_for_none(
    tmp_path: Path, headers: list[tuple[str, str]], body: bytes
) -> None:
    with broken_servers.server(answering(headers, body)) as at:
        assert kaiwo.fetch(f"{at}/a.csv", tmp_path / "a.csv").read_bytes() == TEXT


def test_an_answer_whose_end_nothing_shows_is_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for headers in ([("Transfer-Encoding", "identity")], [("Content-Length", "-1")]):
        caplog.clear()
        with broken_servers.server(answering(headers, TEXT[:50])) as at:
            kaiwo.fetch(f"{at}/a.csv", tmp_path / "a.csv")
        assert "only a checksum could show" in caplog.text


def test_a_coding_for_the_transfer_is_not_published(tmp_path: Path) -> None:
    packed = gzip.compress(TEXT)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    headers = [("Transfer-Encoding", "gzip, chunked")]
    with (
        broken_servers.server(answering(headers, body)) as at,
        pytest.raises(ServiceError, match="transfer coding that was not requested"),
    ):
        kaiwo.fetch(f"{at}/a.csv", tmp_path / "a.csv")


@pytest.mark.parametrize("head", [b"", b"no HTTP\r\n\r\n"], ids=["closes", "garbage"])
def test_a_server_that_does_not_know_head_is_asked_by_get(tmp_path: Path, head: bytes) -> None:
    with broken_servers.server(answering([("ETag", '"1"')], TEXT, head)) as at:
        assert kaiwo.fetch(f"{at}/a.csv", tmp_path / "a.csv").read_bytes() == TEXT


def answering(
    headers: list[tuple[str, str]], body: bytes, head: bytes | None = None
) -> Callable[[socket.socket], None]:
    """Answers one request with these headers, and closes the connection."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    start = b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + lines + b"\r\n"

    def treat(connection: socket.socket) -> None:
        asked = connection.recv(65_536)
        if asked.startswith(b"HEAD"):
            connection.sendall(start if head is None else head)
        else:
            connection.sendall(start + body)

    return treat
