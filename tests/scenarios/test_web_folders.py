"""Pages of links: all of a folder, or an error that says what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kaiwo
from kaiwo.errors import CredentialsError, NotFoundError, ServiceError
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


# --- further pages by their names and words ---------------------------------------------------


def anchors(*links: tuple[str, str], end: str = "") -> Page:
    body = "".join(f'<a href="{link}">{words}</a>' for link, words in links) + end
    return Page(body.encode(), HTML)


def shown(*names: str) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("page2.html", "x"),
        ("page2.html", "2"),
        ("page2", "Next page"),
        ("index2.html", "x"),
        ("index-2.html", "Next &raquo;"),
        ("2.html", "[2]"),
        ("other.html", "next"),
        ("other.html", "<b>Older</b> files"),
        ("other.html", "\u2192"),
        ("/list/d-2.html", "Next 3 files"),
        ("index.html?page=2", "x"),
        ("index.php?start=3", "x"),
        ("?start=3", "x"),
        ("?go=3", "Next"),
    ],
)
def test_a_further_page_is_told_by_name_or_words_and_what_it_shows(
    site: Site, tmp_path: Path, more: str, words: str
) -> None:
    site.pages["/d/"] = anchors(*shown(*NAMES[:3]), (more, words))
    path = more if more.startswith("/") else f"/d/{more}"
    site.pages[path] = anchors(("/d/", "1"), *((f"/d/{name}", name) for name in NAMES[3:]))
    assert fetch(site, tmp_path) == ALL


@pytest.mark.parametrize("first", ["page1.html", "index.html"])
def test_all_pages_of_a_row_are_read(site: Site, tmp_path: Path, first: str) -> None:
    row = [(first, "1"), ("page2.html", "2"), ("page3.html", "3")]
    for number, name in enumerate([first, "page2.html", "page3.html"]):
        files = NAMES[2 * number : 2 * number + 2]
        site.pages[f"/d/{name}"] = anchors(*shown(*files), *row)
    site.pages["/d/"] = site.pages[f"/d/{first}"]
    assert fetch(site, tmp_path) == ALL


def test_the_first_page_is_no_file_if_only_later_ones_name_it(site: Site, tmp_path: Path) -> None:
    rows = {"page1.html": NAMES[:2], "page2.html": NAMES[2:4], "page3.html": NAMES[4:]}
    for name, files in rows.items():
        others = [(other, other[4]) for other in rows if other != name]
        site.pages[f"/d/{name}"] = anchors(*shown(*files), *others)
    site.pages["/d/"] = site.pages["/d/page1.html"]
    assert fetch(site, tmp_path) == ALL


@pytest.mark.parametrize("end", ['<link rel="next" href="page2.html">', ""])
@pytest.mark.parametrize("words", ["page2.html", "x", "2"])
def test_a_file_that_has_the_name_of_a_page_is_a_file(
    site: Site, tmp_path: Path, words: str, end: str
) -> None:
    document = b'<a href="0.bin">x</a> <a href="./">up</a> <a href="page1.html">x</a>'
    site.pages["/d/page2.html"] = Page(document, HTML)
    site.pages["/d/"] = anchors(*shown(*NAMES), ("page2.html", words), end=end)
    assert fetch(site, tmp_path) == {**ALL, "page2.html": document}


def test_a_file_that_leads_to_files_which_its_folder_does_not_show_is_both(
    site: Site, tmp_path: Path
) -> None:
    document = b'<a href="5.bin">x</a> <a href="missing.bin">x</a>'
    site.pages["/d/page2.html"] = Page(document, HTML)
    site.pages["/d/"] = anchors(*shown(*NAMES[:5], "page2.html"))
    assert fetch(site, tmp_path) == {**ALL, "page2.html": document}


def test_many_files_with_the_names_of_pages_are_not_read_twice(site: Site, tmp_path: Path) -> None:
    names = [f"page{number}.html" for number in range(1, 21)]
    for name in names:
        site.pages[f"/d/{name}"] = Page(f"<p>{name}</p>".encode(), {**HTML, "ETag": f'"{name}"'})
    site.pages["/d/"] = anchors(*shown(*names))
    assert fetch(site, tmp_path).keys() == set(names)
    gets = [path for method, path, _ in site.asked if method == "GET" and "page" in path]
    assert len(gets) <= len(names) + 3


def test_a_page_that_fails_is_not_taken_for_a_file(site: Site, tmp_path: Path) -> None:
    site.pages["/d/"] = anchors(*shown(*NAMES[:3]), ("page2.html", "Next"))
    site.pages["/d/page2.html"] = anchors(*shown(*NAMES[3:]))
    site.pages["/d/page2.html"].fails = 1
    assert fetch(site, tmp_path) == ALL


@pytest.mark.parametrize(
    ("form", "is_followed"),
    [
        (
            '<form><input type=hidden name=page value=2><input type=submit value="Next"></form>',
            True,
        ),
        ('<form method=post><input type=submit name=n value="Next page"></form>', False),
    ],
)
def test_a_button_may_lead_on(site: Site, tmp_path: Path, form: str, *, is_followed: bool) -> None:
    site.pages["/d/"] = anchors(*shown(*NAMES[:3]), end=form)
    site.pages["/d/?page=2"] = anchors(*shown(*NAMES[3:]))
    if is_followed:
        assert fetch(site, tmp_path) == ALL
        return
    with pytest.raises(ServiceError, match="1 links of its pages"):
        fetch(site, tmp_path)


# --- names that look like something else ------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    ["a:b.bin", "./a:b.bin", "a%3Ab.bin", "a%3ab.bin", "/d/a:b.bin", " a:b.bin ", "a:\n b.bin"],
)
@pytest.mark.parametrize("words", ["x", "a:b.bin"])
def test_a_name_with_a_colon_is_a_name(site: Site, tmp_path: Path, link: str, words: str) -> None:
    name = "a: b.bin" if " b" in link else "a:b.bin"
    site.pages["/d/"] = anchors(*shown(*NAMES), (link, words))
    for path in ("a:b.bin", "a%3Ab.bin", "a%3ab.bin", "a:%20b.bin"):
        site.pages[f"/d/{path}"] = Page(b"bytes", {"ETag": '"1"'})
    assert fetch(site, tmp_path) == {**ALL, name: b"bytes"}


def test_what_looks_like_another_scheme_is_a_file_if_it_is_there(
    site: Site, tmp_path: Path
) -> None:
    others = ["mailto:x@y", "javascript:void(0)", "data:,x", "s3://b/k", "zotero:open", "TEL:1"]
    site.pages["/d/"] = anchors(
        *shown(*NAMES, "data:2020.bin", "c:/sub/x.bin"), *((other, "x") for other in others)
    )
    for name in ("data:2020.bin", "c:/sub/x.bin"):
        site.pages[f"/d/{name}"] = Page(b"bytes", {"ETag": '"1"'})
    assert fetch(site, tmp_path) == {**ALL, "data:2020.bin": b"bytes", "c:/sub/x.bin": b"bytes"}
    # A name that a listing shows must be there.
    del site.pages["/d/data:2020.bin"]
    with pytest.raises(NotFoundError, match="data:2020"):
        fetch(site, tmp_path / "2")


# --- how servers show folders -----------------------------------------------------------------


def test_a_server_may_state_links_in_another_case(site: Site, tmp_path: Path) -> None:
    """So do servers on Windows."""
    site.pages["/d/"] = anchors(*((f"/D/{name}", name) for name in NAMES))
    assert fetch(site, tmp_path) == ALL


def test_a_folder_may_be_shown_without_a_slash(site: Site, tmp_path: Path) -> None:
    site.pages["/d/"] = anchors(*shown(*NAMES), ("/d/sub", "sub/"), ("doc", "doc"))
    site.pages["/d/sub"] = anchors(("/d", ".."), ("/d/sub/x.bin", "x.bin"))
    site.pages["/d/sub/"] = Page(redirect="/d/sub")
    site.pages["/d/sub/x.bin"] = Page(b"bytes", {"ETag": '"1"'})
    site.pages["/d/doc"] = Page(b'<p><a href="/d/0.bin">x</a>', HTML)
    document = {"doc": b'<p><a href="/d/0.bin">x</a>'}
    assert fetch(site, tmp_path) == {**ALL, **document, "sub/x.bin": b"bytes"}


def test_a_page_without_a_byte_is_no_empty_folder(site: Site, tmp_path: Path) -> None:
    site.pages |= {"/d/": page(*NAMES, "more/"), "/d/more/": Page(b"", HTML)}
    with pytest.raises(ServiceError, match="1 links of its pages"):
        fetch(site, tmp_path)
