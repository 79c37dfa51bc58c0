"""Pages of links: all of a folder, or an error that says what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kaiwo
from kaiwo.errors import CredentialsError, ServiceError
from tests.servers import web
from tests.servers.web import Page, Site
from tests.support.command import tree

HTML = {"Content-Type": "text/html"}
NAMES = [f"{number}.bin" for number in range(6)]


@pytest.fixture
def site(loopback_only: None) -> Iterator[Site]:
    with web.site() as found:
        for name in NAMES:
            found.pages[f"/d/{name}"] = Page(name.encode(), {"ETag": f'"{name}"'})
        yield found


def page(*links: str, end: str = "", **headers: str) -> Page:
    body = "".join(f'<a href="{link}">x</a>' for link in links) + end
    return Page(body.encode(), {**HTML, **headers})


def fetch(site: Site, root: Path, glob: str = "**/*", **fields: object) -> dict[str, bytes]:
    item = {"folder": f"{site.at}/d", "target_path": "t", "glob": glob, **fields}
    config = {"download_root": str(root), "download_items": [{"type": "url", "items": [item]}]}
    report = kaiwo.download(config, retries=0)
    for error in (each.error for each in report.items if each.error is not None):
        raise error
    return {name.removeprefix("t/"): data for name, data in tree(root).items()}


ALL = {name: name.encode() for name in NAMES}


@pytest.mark.parametrize(
    ("more", "end", "headers"),
    [
        ("?page=2", "", {}),
        ("/d/?C=N&page=2", "", {}),
        ("?marker=3.bin", "", {}),
        ("?p=2", "", {}),
        ("#", '<link rel="next" href="?b=2">', {}),
        ("#", '<a rel="nofollow next" href="/d/more/2/">', {}),
        ("#", "", {"Link": '</d/?x=1>; rel="prev", </other?folder=d&x=2>; rel="next"'}),
    ],
)
@pytest.mark.parametrize("glob", ["**/*", "*.bin"])
def test_further_pages_are_followed(
    site: Site, tmp_path: Path, more: str, end: str, headers: dict[str, str], glob: str
) -> None:
    site.pages["/d/"] = page(
        *NAMES[:3], more, "?page=1" if "page" in more else "#", end=end, **headers
    )
    rest = page(*(f"/d/{name}" for name in NAMES[2:]), "?C=S;O=A")
    for path in ("/d/?page=2", "/d/?C=N&page=2", "/d/?marker=3.bin", "/d/?p=2", "/d/?b=2",
                 "/d/more/2/", "/other?folder=d&x=2"):  # fmt: skip
        site.pages[path] = rest
    site.pages["/d/?page=1"] = page(*NAMES[:3], "?page=2")
    assert fetch(site, tmp_path, glob) == ALL


def test_files_behind_queries_that_have_names_are_fetched(site: Site, tmp_path: Path) -> None:
    queries = ["v=1", "download=yes", "path=a/b"]
    links = [f"{name}?{query}" for name, query in zip(NAMES[3:], queries, strict=True)]
    site.pages["/d/"] = page(*NAMES[:3], *links, "0.bin?download=1")
    for name, link in zip(NAMES[3:], links, strict=True):
        del site.pages[f"/d/{name}"]
        asked = link.partition("?")[0] + "?" + link.partition("?")[2].replace("/", "%2F")
        site.pages[f"/d/{asked}"] = Page(name.encode(), {"ETag": f'"{name}"'})
    assert fetch(site, tmp_path / "1") == ALL
    assert fetch(site, tmp_path / "2", "*.bin") == ALL


@pytest.mark.parametrize(
    "links",
    [
        ["?file=3.bin", "?file=4.bin", "?file=5.bin"],
        ["get.php?file=3.bin", "get.php?file=4.bin", "get.php?file=5.bin"],
        ["get?id=3", "a.bin?part=1", "a.bin?part=2"],
    ],
)
def test_links_that_cannot_be_followed_are_counted(
    site: Site, tmp_path: Path, links: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    site.pages["/d/"] = page(*NAMES[:3], *links, links[0])
    with pytest.raises(ServiceError, match=r"3 links of its pages.*allow_partial: true"):
        fetch(site, tmp_path)
    assert tree(tmp_path) == {}
    found = fetch(site, tmp_path, allow_partial=True)
    assert found == {name: name.encode() for name in NAMES[:3]}
    assert "is not complete: 3 links" in caplog.text


def test_other_orders_and_forms_of_a_page_are_nothing_new(site: Site, tmp_path: Path) -> None:
    views = ["?C=N;O=D", "?C=M&O=A", "./?sort=name&order=asc", "?download=zip", "?json", "?F=2",
             "/d?layout=grid", "?P=*.bin"]  # fmt: skip
    site.pages["/d/"] = page(*NAMES, *views)
    assert fetch(site, tmp_path) == ALL
    assert {path for _, path, _ in site.asked if "?" in path} == set()


def test_pages_without_end_are_an_error(site: Site, tmp_path: Path) -> None:
    for number in range(1, 40):
        site.pages[f"/d/?page={number}"] = page(*NAMES, f"?page={number + 1}")
    site.pages["/d/"] = site.pages["/d/?page=1"]
    with pytest.raises(ServiceError, match="its pages have no end"):
        fetch(site, tmp_path)
    assert len(site.asked) < 20


@pytest.mark.parametrize("more", ["page/2/", "page/2", "/d/page/2/", "p/2"])
def test_further_pages_may_be_paths(site: Site, tmp_path: Path, more: str) -> None:
    site.pages["/d/"] = page(*NAMES[:3], more)
    for path in ("/d/page/2/", "/d/page/2", "/d/p/2"):
        site.pages[path] = page(*(f"/d/{name}" for name in NAMES[2:]), "/d/", "/d/page/2")
    assert fetch(site, tmp_path) == ALL


def test_a_page_shows_files_of_another_part_of_the_folder(site: Site, tmp_path: Path) -> None:
    site.pages["/d/"] = page(*NAMES[:3], "all/")
    site.pages["/d/all/"] = page(*(f"/d/{name}" for name in NAMES), "/e/0.bin", "/d/?C=N", "../")
    assert fetch(site, tmp_path) == ALL


@pytest.mark.parametrize("link", ["/~d/a,b.bin", "/%7Ed/a%2Cb.bin", "/%7ed/a%2cb.bin", "a,b.bin"])
def test_one_path_has_several_spellings(site: Site, tmp_path: Path, link: str) -> None:
    site.pages["/%7Ed/"] = page(link)
    site.pages["/%7Ed/a,b.bin"] = Page(b"bytes", {"ETag": '"1"'})
    item = {"folder": f"{site.at}/%7Ed", "target_path": "t"}
    report = kaiwo.download(
        {"download_root": str(tmp_path), "download_items": [{"type": "url", "items": [item]}]}
    )
    assert (report.exit_code, tree(tmp_path)) == (0, {"t/a,b.bin": b"bytes"})


def test_pages_may_be_xhtml(site: Site, tmp_path: Path) -> None:
    site.pages["/d/"] = page(*NAMES[:3], "more/")
    site.pages["/d/more/"] = page("/d/3.bin", "/d/4.bin", "/d/5.bin")
    for each in ("/d/", "/d/more/"):
        site.pages[each].headers["Content-Type"] = "application/xhtml+xml; charset=utf-8"
    assert fetch(site, tmp_path) == ALL


@pytest.mark.parametrize(
    "other",
    [Page(b"[]", {"Content-Type": "application/json"}), Page(redirect="/start")],
    ids=["json", "redirect"],
)
def test_a_folder_without_a_page_of_links_is_left_out(
    site: Site, tmp_path: Path, other: Page
) -> None:
    site.pages |= {"/d/": page(*NAMES, "more/"), "/d/more/": other, "/start": page("/help")}
    with pytest.raises(ServiceError, match=r"1 links of its pages.*allow_partial: true"):
        fetch(site, tmp_path)
    assert fetch(site, tmp_path, allow_partial=True) == ALL


@pytest.mark.parametrize("at", ["/d/", "/d/more/"])
def test_a_page_that_asks_for_a_password_is_no_empty_folder(
    site: Site, tmp_path: Path, at: str
) -> None:
    site.pages |= {"/d/": page(*NAMES, "more/"), "/d/more/": page("/d/0.bin")}
    site.pages[at] = page("/help", end='<form><input type="Password"></form>')
    with pytest.raises(CredentialsError, match="a page that asks for a password came"):
        fetch(site, tmp_path)


def test_an_empty_folder_is_no_failure(site: Site, tmp_path: Path) -> None:
    site.pages |= {"/d/": page(*NAMES, "more/"), "/d/more/": page("../", "/")}
    assert fetch(site, tmp_path) == ALL
