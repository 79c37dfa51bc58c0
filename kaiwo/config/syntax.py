"""What is wrong with a text that is not valid YAML, in plain words and at the right place.

The parser notices a fault where it cannot go on, which is often lines below: an unclosed quote
takes everything up to the next quote. Its messages also quote the text, which may be a secret.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

import yaml
from msgspec import Struct
from yaml.reader import Reader

from kaiwo.config.excerpts import Loader, is_long_quote

_OPEN_QUOTE = "a quote is not closed"
#: What may be said of a bracket that is not closed.
_IN_BRACKETS = (("a ',' or a closing bracket is missing", None), ("a value is missing", None))
#: The parser's messages: in plain words, and what to do; each matches both of PyYAML's parsers.
_PLAINLY: tuple[tuple[str, str, str | None], ...] = (
    (r"mapping values are not allowed", "a ':' is not allowed here",
     "put a value with ': ' in quotes, and indent keys of one mapping alike"),
    (r"sequence entries are not allowed", "a '-' is not allowed here",
     "begin a list on the line below its key"),
    (r"could not find expected ':'", "a ':' is missing after this key",
     "write 'key: value', with a space after the colon"),
    (r"expected '-' indicator|expected <block end>.*'\?'", "a '-' is missing",
     "begin each entry of the list with '-', or indent the key less"),
    (r"expected key|expected <block end>", "a key is expected here",
     "indent keys of one mapping alike, and put a value with quotes in it in other quotes"),
    (r"expected ',' or '[\]}]'", *_IN_BRACKETS[0]),
    (r"node content", *_IN_BRACKETS[1]),
    (r"another document", "a second document begins ('---')",
     "put each into a separate file; of a manifest of Kubernetes, give the text in its ConfigMap"),
    (r"undefined alias", "undefined alias", "define it above with '&', or put the value in quotes"),
    (r"duplicate anchor", "duplicate anchor", "give it another name"),
    (r"tag", "unknown tag", "put a value that begins with '!' in quotes"),
    (r"directive", "unknown directive", "put a value that begins with '%' in quotes"),
    (r"escape character", "unknown escape after '\\'", "use single quotes, or write two '\\'"),
    (r"cannot start any token", "a value cannot begin with this character",
     "put the value in quotes"),
)  # fmt: skip
#: At most this many lines with tabs are reported.
_MOST_TABS = 100
_TABS = ("a tab is not allowed here", "indent with spaces")
_TAB = re.compile(r"^ *\t[ \t]*(?=\S)", re.MULTILINE)
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
_CLOSING_SIGN = {"[": "]", "{": "}"}
_KEY_BELOW = re.compile(r"\n[ \t]*(?:- +)*[\w-]+:(?:\s|$)")


class Fault(Struct, frozen=True):
    """One fault of the text; line and column count from 1."""

    line: int
    column: int
    problem: str
    hint: str | None = None


def faults_of(text: str, error: yaml.YAMLError) -> list[Fault]:
    """What the parser stumbled over; at least one fault."""
    if not isinstance(error, yaml.MarkedYAMLError):
        found = Reader.NON_PRINTABLE.search(text)
        hint = "write them as escapes, in double quotes"
        at = position_of(text, found.start() if found else 0)
        return [Fault(*at, "it contains forbidden characters", hint)]
    mark: Any = error.problem_mark or error.context_mark
    begun: Any = error.context_mark or mark
    described = _described(error.problem or "")
    if " tab " in (error.problem or "") or text[mark.index : mark.index + 1] == "\t":
        return list(_tabs(text)) or [_at(mark, *_TABS)]
    if (quote := _open_quote(text, error)) is not None:
        return [_at(quote, _OPEN_QUOTE, "close it on the same line")]
    if described in _IN_BRACKETS and (bracket := _open_bracket(text, error)) is not None:
        return [_at(bracket, f"'{text[bracket.index]}' is not closed")]
    is_key = "simple key" in (error.context or "")
    return [_at(begun if is_key else mark, *described)]


def _at(mark: Any, problem: str, hint: str | None = None) -> Fault:
    return Fault(mark.line + 1, mark.column + 1, problem, hint)


def position_of(text: str, index: int) -> tuple[int, int]:
    """Line and column of a position in the text, from 1."""
    lines = text[:index].splitlines(keepends=True) or [""]
    if lines[-1].endswith(("\n", "\r")):
        lines.append("")
    return len(lines), len(lines[-1]) + 1


def _described(problem: str) -> tuple[str, str | None]:
    for pattern, plainly, hint in _PLAINLY:
        if re.search(pattern, problem):
            return plainly, hint
    return "it does not parse", None


def _tabs(text: str) -> Iterator[Fault]:
    """All lines that are indented with tabs."""
    for found in itertools.islice(_TAB.finditer(text), _MOST_TABS):
        yield Fault(*position_of(text, found.start() + found[0].index("\t")), *_TABS)


def _open_bracket(text: str, error: yaml.MarkedYAMLError) -> Any:
    """The innermost open bracket, if nothing behind the fault closes it."""
    last: Any = error.problem_mark
    is_open = []
    for token in _tokens(text):
        if token.start_mark.index >= last.index:
            break
        if isinstance(token, _OPENING):
            is_open.append(token.start_mark)
        elif isinstance(token, _CLOSING) and is_open:
            is_open.pop()
    if not is_open or _CLOSING_SIGN[text[is_open[-1].index]] in text[last.index :]:
        return None
    return is_open[-1]


def _open_quote(text: str, error: yaml.MarkedYAMLError) -> Any:
    """Where the quote begins that took in keys of the lines below it, if one did."""
    if "quoted scalar" in (error.context or "") and "end of" in (error.problem or ""):
        return error.context_mark
    last = error.problem_mark.index if error.problem_mark else len(text)
    for token in _tokens(text):
        start, end = token.start_mark.index, token.end_mark.index
        if start > last:
            break
        if is_long_quote(token) and _KEY_BELOW.search(text[start:end]):
            return token.start_mark
    return None


def _tokens(text: str) -> Iterator[Any]:
    """The parser's tokens, up to what it cannot read."""
    with contextlib.suppress(yaml.YAMLError):
        yield from yaml.scan(text, Loader=Loader)
