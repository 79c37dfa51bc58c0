"""Markdown: what pages say, read from their text, and tables, written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tokens(text: str) -> Sequence[Token]:
    """The blocks of a page, and in their children all that is in a line."""
    return MarkdownIt().enable("table").parse(text)


def fences(text: str) -> Iterator[tuple[str, str]]:
    """The language and the content of each fenced block."""
    for token in tokens(text):
        if token.type == "fence":
            yield token.info.strip(), token.content


def spans(text: str) -> Iterator[str]:
    """The content of each span of code in a line."""
    for block in tokens(text):
        for part in block.children or []:
            if part.type == "code_inline":
                yield part.content


def links(text: str) -> Iterator[str]:
    """The targets of all links and images."""
    for block in tokens(text):
        for part in block.children or []:
            target = part.attrGet("href") or part.attrGet("src")
            if isinstance(target, str):
                yield target


def read(path: Path) -> str:
    """The text of a page."""
    return path.read_text(encoding="utf-8")
