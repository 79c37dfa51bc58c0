"""What mkdocs does besides: the site has what the pages link to, and says what the pages say.

Pages are written for a forge: README.md is beside ``docs/``, and links go anywhere in the
repository. In the site, README.md is the home page; the other pages at the root are beside it; all
else that a page links to is below ``repository/``. Links are rewritten to fit.

Three things are warnings, which fail a strict build: a link that leads to no file of the
repository; a page of which Python-Markdown, which makes the site, finds other parts than
CommonMark, which a forge shows; and anything that a browser would load from another host.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

from tests.support.markdown import links, read, tokens

logger = logging.getLogger("mkdocs.hooks.kaiwo")
ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
#: Pages at the root, and their places in the site.
AT_ROOT = {
    "README.md": "index.md",
    **{name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")},
}
REPOSITORY = "repository/"
#: The name of a page that lists a folder.
LIST = "index.md"


def place_of(path: str) -> str:
    """Where a file of the repository is in the site, as mkdocs names sources."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    return AT_ROOT.get(path, REPOSITORY + path)


def source_of(place: str) -> str:
    """The inverse of ``place_of``."""
    if place.startswith(REPOSITORY):
        return place.removeprefix(REPOSITORY)
    at_root = {place: path for path, place in AT_ROOT.items()}
    return at_root.get(place, DOCS + place)


def linked(page: str, link: str) -> str | None:
    """The file of the repository that a link of a page leads to; None for all other links.

    A folder is its README.md, or else a page that lists its files (``LIST``).
    """
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path)))
    if (ROOT / path).is_dir():
        readme = posixpath.join(path, "README.md")
        return readme if (ROOT / readme).exists() else posixpath.join(path, LIST)
    return path


def text_of(path: str) -> str | None:
    """The text of a page, or None if there is none: a file, or the list of a folder."""
    if (ROOT / path).is_file():
        return read(ROOT / path)
    folder, name = (ROOT / path).parent, posixpath.basename(path)
    if name != LIST or not folder.is_dir():
        return None
    found = [each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()]
    names = sorted(each for each in found if "__pycache__" not in each)
    shown = [f"- [`{each}`]({quote(each)})" for each in names]
    return "\n".join([f"# {posixpath.dirname(path)}", "", *shown, ""])


class _Links(Treeprocessor):  # type: ignore[misc]  # it has no types
    """Makes the links of a page fit the site."""

    page = ""

    def run(self, root: Element) -> None:
        for element in root.iter():
            for name in ("href", "src"):
                link = element.get(name)
                path = linked(self.page, link) if link else None
                if link and path:
                    start = posixpath.dirname(place_of(self.page)) or "."
                    _, found, anchor = link.partition("#")
                    element.set(name, posixpath.relpath(place_of(path), start) + found + anchor)


class _Extension(Extension):  # type: ignore[misc]  # it has no types
    """Registers the links before mkdocs' own, which has priority 0."""

    def __init__(self) -> None:
        super().__init__()
        self.links = _Links()

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Python-Markdown's name
        md.treeprocessors.register(self.links, "kaiwo-links", 1)


_extension = _Extension()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors as a forge has them, and our links."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    config.markdown_extensions.append(_extension)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages at the root, and all else that pages link to."""
    waiting = [*AT_ROOT, *(DOCS + file.src_uri for file in files.documentation_pages())]
    seen = set(waiting)
    for page in waiting:
        if files.get_file_from_path(place_of(page)) is None:
            files.append(_added(page, config))
        for link in links(text_of(page) or "") if page.endswith(".md") else ():
            path = linked(page, link)
            if path is None or path in seen or files.get_file_from_path(place_of(path)):
                continue
            seen.add(path)
            if (ROOT / path).exists() or text_of(path) is not None:
                waiting.append(path)
            else:
                logger.warning("%s: the link %s leads to no file of the repository", page, link)
    return files


def _added(path: str, config: MkDocsConfig) -> File:
    """A file of the site that is not in ``docs/``."""
    level = InclusionLevel.INCLUDED if path in AT_ROOT else InclusionLevel.NOT_IN_NAV
    place = place_of(path)
    if (ROOT / path).is_file():
        return File.generated(config, place, abs_src_path=str(ROOT / path), inclusion=level)
    return File.generated(config, place, content=text_of(path) or "", inclusion=level)


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Remember whose links come next."""
    _extension.links.page = source_of(page.file.src_uri)
    return markdown


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Compare what became of a page with what a forge shows."""
    expected, found = in_commonmark(page.markdown or ""), in_html(html)
    for what in sorted(expected.keys() | found.keys()):
        if expected[what] != found[what]:
            logger.warning(
                "%s: %s x %r here, and %d x on a forge",
                source_of(page.file.src_uri), found[what], what, expected[what],
            )  # fmt: skip
    return html


def on_post_build(config: MkDocsConfig) -> None:
    """Look for what a browser would load from another host."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css"):
            for address in loaded(path.read_text(encoding="utf-8")):
                logger.warning("%s loads %s", os.path.relpath(path, config.site_dir), address)


#: Attributes by which a browser loads something at once, and what styles load.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon))[^>]*?\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|(?:@import\s*|url\()["']?((?:https?:)?//[^"')\s]+)"""
)


def loaded(text: str) -> Iterator[str]:
    for match in _LOADED.finditer(text):
        yield next(each for each in match.groups() if each)


#: What is counted: tokens of CommonMark, and the elements that they become.
_ELEMENTS = {
    "heading_open": "heading",
    "list_item_open": "li",
    "table_open": "table",
    "tr_open": "tr",
    "td_open": "td",
    "th_open": "th",
    "fence": "pre",
    "code_block": "pre",
    "link_open": "a",
    "image": "img",
    "em_open": "em",
    "strong_open": "strong",
}


def _named(element: str, depth: int) -> str:
    """An element and in how many lists it is, where that is seen."""
    return f"{element} in {depth} lists" if element in ("li", "pre") else element


def in_commonmark(text: str) -> Counter[str]:
    """The parts of a page by CommonMark, and each span of code with its text."""
    found: Counter[str] = Counter()
    depth = 0
    for block in tokens(text):
        if block.type in ("bullet_list_open", "ordered_list_open"):
            depth += 1
        elif block.type in ("bullet_list_close", "ordered_list_close"):
            depth -= 1
        for token in (block, *(block.children or [])):
            if token.type in _ELEMENTS:
                found[_named(_ELEMENTS[token.type], depth)] += 1
            elif token.type == "code_inline":
                found[f"`{token.content}`"] += 1
    return found


class _Parts(HTMLParser):
    """Counts the same parts of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._code: list[str] | None = None
        self._inside_pre = False
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = dict(attrs).get("class") or ""
        if "headerlink" in classes or self._inside_pre:
            return
        if tag == "pre":
            self._inside_pre = True
        elif tag in ("ul", "ol"):
            self._depth += 1
        elif tag == "code":
            self._code = []
            return
        name = "heading" if re.fullmatch("h[1-6]", tag) else tag
        if name in _ELEMENTS.values():
            self.found[_named(name, self._depth)] += 1

    def handle_data(self, data: str) -> None:
        if self._code is not None:
            self._code.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._inside_pre = False
        elif tag in ("ul", "ol"):
            self._depth -= 1
        elif tag == "code" and self._code is not None:
            text = re.sub(r"\s+", " ", "".join(self._code))
            self.found[f"`{text}`"] += 1
            self._code = None


def in_html(html: str) -> Counter[str]:
    parts = _Parts()
    parts.feed(html)
    return parts.found
