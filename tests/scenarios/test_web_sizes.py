"""Servers that state the size of a file in several ways: what is unknown is no number."""

from __future__ import annotations

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
