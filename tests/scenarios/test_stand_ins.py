"""A page of HTML or a Git LFS pointer that comes in place of the file is not published."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import kaiwo as api
from kaiwo.errors import StandInError
from tests.servers import web
from tests.servers.web import Page, Site
from tests.support.command import Kaiwo, tree
from tests.support.stores import Store

PAGE = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8", "ETag": '"1"'}
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 123456789\n"
    % hashlib.sha256(b"the file").hexdigest().encode()
)


@pytest.fixture
def site(loopback_only: None) -> Iterator[Site]:
    with web.site() as found:
        yield found


@pytest.mark.parametrize(
    "name", ["model.safetensors", "a.csv", "README.txt", "model.v2", "Node.js"]
)
def test_a_page_in_place_of_a_file_is_refused(site: Site, tmp_path: Path, name: str) -> None:
    site.pages[f"/{name}"] = Page(PAGE, HTML)
    with pytest.raises(StandInError, match=r"a page of HTML came.*sign in"):
        api.fetch(f"{site.at}/{name}", tmp_path / name)
    assert tree(tmp_path) == {}


def test_a_page_behind_a_redirect_is_refused_by_the_name_of_the_target(
    site: Site, tmp_path: Path
) -> None:
    site.pages["/get?id=7"] = Page(redirect="/login")
    site.pages["/login"] = Page(PAGE, HTML)
    with pytest.raises(StandInError):
        api.fetch(f"{site.at}/get?id=7", tmp_path / "model.bin")
    assert tree(tmp_path) == {}


def test_a_page_of_another_length_than_the_file_is_said_to_be_a_page(
    site: Site, tmp_path: Path
) -> None:
    class Signed(Page):
        def answer(self, method: str, asked: str) -> tuple[int, dict[str, str], bytes]:
            page = Page(b"x" * 9) if method == "HEAD" else Page(PAGE, HTML)
            return page.answer("GET", asked)

    site.pages["/a.bin"] = Signed()
    with pytest.raises(StandInError):
        api.fetch(f"{site.at}/a.bin", tmp_path / "a.bin")


@pytest.mark.parametrize(
    ("name", "target"),
    [("a.html", "a.html"), ("a", "a"), ("v1.0", "v1.0"), ("a.php", "a.php"), ("a.js", "a.html"),
     ("a.HTM", "a")],
)  # fmt: skip
def test_a_page_that_may_be_meant_is_a_file(
    site: Site, tmp_path: Path, name: str, target: str
) -> None:
    site.pages[f"/{name}"] = Page(PAGE, HTML)
    assert api.fetch(f"{site.at}/{name}", tmp_path / target).read_bytes() == PAGE


@pytest.mark.parametrize("data", [b"PK\3\4 zip", b"", b"x" * 5000])
def test_a_file_whose_type_is_stated_wrongly_is_a_file(
    site: Site, tmp_path: Path, data: bytes
) -> None:
    site.pages["/a.zip"] = Page(data, HTML)
    assert api.fetch(f"{site.at}/a.zip", tmp_path / "a.zip").read_bytes() == data


def test_a_page_without_a_type_is_refused_for_a_format_that_it_cannot_have(
    site: Site, tmp_path: Path
) -> None:
    site.pages["/a.gguf"] = Page(PAGE, {"ETag": '"1"'})
    with pytest.raises(StandInError, match=r"not a \.gguf file"):
        api.fetch(f"{site.at}/a.gguf", tmp_path / "a.gguf")


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/html; charset=utf-16"}, {"Content-Type": "text/html"}, {}]
)
def test_a_page_in_utf_16_is_a_page(site: Site, tmp_path: Path, headers: dict[str, str]) -> None:
    site.pages["/a.npz"] = Page(PAGE.decode().encode("utf-16"), {"ETag": '"1"', **headers})
    with pytest.raises(StandInError, match="a page of HTML came"):
        api.fetch(f"{site.at}/a.npz", tmp_path / "a.npz")


@pytest.mark.parametrize("sized", [True, False])
def test_an_error_in_place_of_a_file_is_refused(site: Site, tmp_path: Path, *, sized: bool) -> None:
    error = b'{"error": "unauthorized", "message": "%s"}' % (b"x" * 3000)

    class Unsized(Page):
        def answer(self, method: str, asked: str) -> tuple[int, dict[str, str], bytes]:
            del asked
            status, headers, _ = super().answer(method, "")
            chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(error), error)
            headers.pop("Content-Length", None)
            return status, {**headers, "Transfer-Encoding": "chunked"}, chunk

    site.pages["/a.pt"] = (Page if sized else Unsized)(error, {"Content-Type": "application/json"})
    with pytest.raises(StandInError, match=r"an error message of .* not a \.pt file"):
        api.fetch(f"{site.at}/a.pt", tmp_path / "a.pt")
    site.pages["/a.json"] = Page(error, {"Content-Type": "application/json"})
    assert api.fetch(f"{site.at}/a.json", tmp_path / "a.json").read_bytes() == error


def test_a_pointer_is_refused_whatever_the_source(s3: Store, kaiwo: Kaiwo, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"model.safetensors": POINTER, "config.json": b"{}"})
    task = s3.task(bucket, [{"folder": "", "target_path": "."}])
    done = kaiwo({"download_items": [task]})
    assert done.code == 7, done.stderr
    assert "a Git LFS pointer" in done.stderr
    assert tree(tmp_path / "out") == {"config.json": b"{}"}


def test_a_pointer_that_is_in_place_is_not_adopted(site: Site, tmp_path: Path) -> None:
    digest = hashlib.md5(POINTER).hexdigest()
    site.pages["/a.bin"] = Page(POINTER, {"Content-MD5": digest})
    (tmp_path / "a.bin").write_bytes(POINTER)
    with pytest.raises(StandInError):
        api.fetch(f"{site.at}/a.bin", tmp_path / "a.bin")
