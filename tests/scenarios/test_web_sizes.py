"""Servers that state the size of a file in several ways: what is unknown is no number."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import kaiwo
from kaiwo.jobs import RANGE
from tests.servers import web
from tests.servers.web import Page, Site
from tests.support.faulty import content

Reply = tuple[int, dict[str, str], bytes]


@pytest.fixture
def site(loopback_only: None) -> Iterator[Site]:
    with web.site() as found:
        yield found


@dataclass
class Edited(Page):
    """A page whose answers a test edits: method, the asked range and the answer."""

    edit: Callable[[str, str, Reply], Reply] = lambda _, __, reply: reply

    def answer(self, method: str, asked: str) -> Reply:
        return self.edit(method, asked, super().answer(method, asked))


def other_length(method: str, _: str, reply: Reply) -> Reply:
    status, headers, body = reply
    return status, headers | ({"Content-Length": "77"} if method == "HEAD" else {}), body


def no_length(method: str, _: str, reply: Reply) -> Reply:
    status, headers, body = reply
    return status, headers | ({"Content-Length": "0"} if method == "HEAD" else {}), body


def no_content_range(method: str, asked: str, reply: Reply) -> Reply:
    status, headers, body = no_length(method, asked, reply)
    return status, {name: headers[name] for name in headers if name != "Content-Range"}, body


def unknown_size(method: str, asked: str, reply: Reply) -> Reply:
    status, headers, body = no_length(method, asked, reply)
    if "Content-Range" in headers:
        headers["Content-Range"] = headers["Content-Range"].rpartition("/")[0] + "/*"
    return status, headers, body


@pytest.mark.parametrize("size", [1, 5000, 2 * RANGE + 5])
@pytest.mark.parametrize("edit", [other_length, no_length, no_content_range, unknown_size])
@pytest.mark.parametrize("stated", [{"ETag": '"1"'}, {}], ids=["etag", "nothing"])
def test_a_size_that_only_some_answers_state_is_found(
    site: Site,
    tmp_path: Path,
    size: int,
    edit: Callable[[str, str, Reply], Reply],
    stated: dict[str, str],
) -> None:
    data = content(size)
    site.pages["/a"] = Edited(data, dict(stated), edit=edit)
    assert kaiwo.fetch(f"{site.at}/a", tmp_path / "a").read_bytes() == data


def test_a_size_of_a_head_counts_where_a_range_does_not_state_it(
    site: Site, tmp_path: Path
) -> None:
    def edit(method: str, asked: str, reply: Reply) -> Reply:
        return reply if method == "HEAD" else unknown_size(method, asked, reply)

    site.pages["/a"] = Edited(b"bytes", edit=edit)
    assert kaiwo.fetch(f"{site.at}/a", tmp_path / "a").read_bytes() == b"bytes"
    assert [method for method, _, _ in site.asked].count("HEAD") >= 1


def test_an_error_with_status_200_does_not_outrank_a_head(site: Site, tmp_path: Path) -> None:
    def edit(method: str, _: str, reply: Reply) -> Reply:
        error = b"<Error><Code>InternalError</Code></Error>"
        return reply if method == "HEAD" else (200, {"Content-Length": f"{len(error)}"}, error)

    site.pages["/a"] = Edited(b"bytes", {"ETag": '"1"'}, edit=edit)
    with pytest.raises(kaiwo.errors.IntegrityError):
        kaiwo.fetch(f"{site.at}/a", tmp_path / "a")


def test_an_answer_that_is_encoded_on_the_way_is_decoded(site: Site, tmp_path: Path) -> None:
    data = b"a,b\n" * 5000

    def edit(method: str, _: str, reply: Reply) -> Reply:
        packed = gzip.compress(data)
        sent = {"Content-Encoding": "gzip", "Content-Length": f"{len(packed)}"}
        return reply if method == "HEAD" else (200, reply[1] | sent, packed)

    site.pages["/a.csv"] = Edited(data, {"ETag": 'W/"1"'}, edit=edit)
    assert kaiwo.fetch(f"{site.at}/a.csv", tmp_path / "a.csv").read_bytes() == data


def test_a_wrong_total_beside_a_range_does_not_outrank_a_get(site: Site, tmp_path: Path) -> None:
    def edit(_: str, __: str, reply: Reply) -> Reply:
        status, headers, body = reply
        if "Content-Range" in headers:
            headers["Content-Range"] = headers["Content-Range"].rpartition("/")[0] + f"/{len(body)}"
        return status, headers, body

    data = content(2 * RANGE + 5)
    site.pages["/a"] = Edited(data, {"ETag": '"1"'}, edit=edit)
    assert kaiwo.fetch(f"{site.at}/a", tmp_path / "a").read_bytes() == data


@pytest.mark.parametrize("data", [b"bytes", b""])
def test_a_refused_range_without_a_size_states_none(
    site: Site, tmp_path: Path, data: bytes
) -> None:
    def edit(method: str, asked: str, reply: Reply) -> Reply:
        status, headers, body = no_length(method, asked, reply)
        return (416, {"Content-Length": "0"}, b"") if asked else (status, headers, body)

    site.pages["/a"] = Edited(data, edit=edit)
    assert kaiwo.fetch(f"{site.at}/a", tmp_path / "a").read_bytes() == data
