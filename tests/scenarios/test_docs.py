"""The pages are right: their tables, their links, and the files that they name."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest

from kaiwo.errors import EXIT_CODES
from tests import messages, reference
from tests.servers import ROOT
from tests.support import identities
from tests.support.markdown import links, read, spans, tokens

PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
)
#: Where files that a page names in backticks can be: pages leave ``kaiwo/`` out.
PLACES = (ROOT, ROOT / "kaiwo")
#: A path of a Python file, or of a folder that is ours; ``<name>`` stands for any name.
NAMED = re.compile(r"`([\w.-]+/(?:[\w.-]+/)*(?:[\w.-]+\.\w+)?)(?:::\w+)?`")
OURS = {path.name for place in PLACES for path in place.iterdir() if path.is_dir()}
#: What commands make may be there or not.
OURS -= {line.rstrip("/") for line in read(ROOT / ".gitignore").splitlines()}


def text_of(page: str) -> str:
    return read(ROOT / page)


@pytest.mark.parametrize("page", reference.PAGES)
def test_the_tables_are_those_of_the_code(page: str) -> None:
    if reference.filled(page) != text_of(page):
        pytest.fail(f"the tables of {page} are not those of the code: make reference")


def test_the_schema_is_that_of_the_code() -> None:
    if reference.schema_text() != text_of(reference.SCHEMA):
        pytest.fail(f"{reference.SCHEMA} is not what the code makes: make reference")


def test_the_page_of_the_architecture_is_read_in_one_sitting() -> None:
    assert len(text_of("docs/architecture.md").splitlines()) <= 150


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub names them."""
    found: Counter[str] = Counter()
    names = set()
    for heading, content in itertools.pairwise(tokens(read(path))):
        if heading.type == "heading_open":
            words = re.sub(r"[^\w\- ]", "", content.content.lower()).replace(" ", "-")
            names.add(f"{words}-{found[words]}" if found[words] else words)
            found[words] += 1
    return names


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in links(text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path), link


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = [name for name in NAMED.findall(text_of(page)) if name.partition("/")[0] in OURS]
    missing = [name for name in named if not any((place / name).exists() for place in PLACES)]
    if missing:
        pytest.fail(f"{page} names files that do not exist: {', '.join(missing)}")


def test_the_example_of_a_provider_uses_only_what_is_stated_to_be_public() -> None:
    page = text_of("docs/providers.md")
    public = set(re.findall(r"`(kaiwo(?:\.\w+)+)`", page.partition("## What is stable")[2]))
    used = {
        node.module
        for path in ROOT.glob("examples/provider/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("kaiwo.")
    }
    assert used
    assert used <= public, used - public


def test_pages_name_files_and_link_to_others() -> None:
    named = NAMED.findall(text_of("docs/architecture.md"))
    assert len([name for name in named if name.partition("/")[0] in OURS]) > 30
    assert sum(len(list(links(text_of(page)))) for page in PAGES) > 50


def test_troubleshooting_has_every_exit_code_and_quotes_what_kaiwo_says() -> None:
    rows = re.findall(
        r"^\| ([\d, ]+) \| (.+?) \|", text_of("docs/troubleshooting.md"), re.MULTILINE
    )
    codes = {int(code) for row, _ in rows for code in row.split(", ")}
    # 137 is a kill, of which kaiwo knows nothing.
    assert codes == EXIT_CODES.keys() - {0} | {137}
    said = "\n".join(each.text for each in messages.all_messages())
    quoted = [text for _, seen in rows for text in spans(seen)]
    assert len(quoted) > 20
    assert [text for text in quoted if text not in said] == []


def test_each_way_to_sign_in_is_tried_by_a_test_that_exists() -> None:
    for row in identities.rows():
        file, _, name = row.test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), row
