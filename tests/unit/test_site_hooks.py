"""What the site of the docs is warned of; the rest is shown by ``make docs`` itself."""

from __future__ import annotations

import pytest
from markdown import Markdown

from tests import site_hooks
from tests.site_hooks import linked, place_of, source_of

#: As in mkdocs.yml, but for colours.
EXTENSIONS = ["tables", "toc", "pymdownx.superfences"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("README.md", "index.md"),
        ("SECURITY.md", "SECURITY.md"),
        ("docs/start.md", "start.md"),
        ("docs/decisions/README.md", "decisions/README.md"),
        ("examples/provider/README.md", "repository/examples/provider/README.md"),
    ],
)
def test_a_place_in_the_site_leads_back_to_its_file(path: str, place: str) -> None:
    assert (place_of(path), source_of(place)) == (place, path)


def test_links_are_files_of_the_repository() -> None:
    assert linked("docs/a.md", "../examples/x.md#y") == "examples/x.md"
    assert linked("docs/decisions/a.md", "../b%20c.md") == "docs/b c.md"
    assert linked("README.md", "https://example.org/a.md") is None
    assert linked("README.md", "#anchor") is None


def test_a_folder_is_its_readme_or_a_list_of_its_files() -> None:
    assert linked("docs/a.md", "decisions/") == "docs/decisions/README.md"
    assert linked("docs/a.md", "../.ci") == ".ci/index.md"
    assert site_hooks.text_of(".ci/index.md") == "# .ci\n\n- [`run`](run)\n"
    assert site_hooks.text_of("docs/nothing.md") is None


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("# A\n\n- one\n- two\n\n| a | b |\n| --- | --- |\n| `c` | [d](e.md) |\n", []),
        ("Text:\n- one\n- two\n", ["li in 1 lists"]),
        ("- one\n\n  ```bash\n  two\n  ```\n", ["pre in 0 lists", "pre in 1 lists"]),
        ("1. one\n   - two\n", ["li in 1 lists", "li in 2 lists"]),
        ("| a |\n| --- |\n| `b \\| c` |\n", ["`b \\| c`", "`b | c`"]),
    ],
)
def test_a_page_that_a_forge_shows_differently_is_found(text: str, differs: list[str]) -> None:
    html = Markdown(extensions=EXTENSIONS).convert(text)
    ours, theirs = site_hooks.in_html(html), site_hooks.in_commonmark(text)
    found = [what for what in sorted(ours | theirs) if ours[what] != theirs[what]]
    assert found == sorted(differs)


def test_what_a_browser_loads_from_elsewhere_is_found() -> None:
    text = (
        '<script src="https://a/x.js"></script><link href="//b/y.css" rel=stylesheet>'
        "<style>@import 'https://c/z.css'; p {background: url(https://d/i.png)}</style>"
        '<a href="https://e/">e</a><link rel="canonical" href="https://f/"><img src="g.png">'
    )
    assert list(site_hooks.loaded(text)) == [
        "https://a/x.js", "//b/y.css", "https://c/z.css", "https://d/i.png",
    ]  # fmt: skip
