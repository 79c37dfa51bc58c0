"""Lines of a YAML text as they may be shown: without secrets, and without what moves a cursor.

A line is put together from the parser's tokens, so that it works on a text that does not parse.
The structure, the keys that are one word, and the values of fields that never hold a secret stay.
Everything else is ``***``: values of other keys, all that is below such a key, anchors, and what
follows the place where the text does not parse any more. Comments are left out.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import yaml
from msgspec import Struct

from kaiwo import redact
from kaiwo.config.suggestions import VERY_ALIKE, nearest

#: PyYAML may be without libyaml.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Keys whose values are shown. No secret belongs there, and no address: it may hold a password.
SHOWN_VALUES = frozenset(
    {
        "type", "name", "region", "profile", "anonymous", "addressing_style", "requester_pays",
        "repo_id", "repo_type", "revision", "transport", "high_performance", "allow_empty",
        "allow_partial", "folder", "file", "target_path", "glob", "exclude", "checksum",
        "download_root", "max_workers", "max_bandwidth", "log_level", "log_format", "progress",
        "report", "metrics_file", "verify", "retries", "engine", "startup_wait", "stall_timeout",
        "deadline", "fsync", "fail_fast", "force", "state_dir",
    }
)  # fmt: skip
#: Keys that hold other keys; those of the lists also where they are misspelled.
_LISTS_OF_KEYS = ("download_items", "buckets", "containers", "items")
_HOLDERS = frozenset((*_LISTS_OF_KEYS, "folder", "file"))
#: Other keys that are shown where the text does not parse any more.
_KEYS = SHOWN_VALUES | _HOLDERS | {
    "endpoint_url", "access_key_id", "secret_key", "session_token", "token", "files",
    "customer_key",
    "allow_patterns", "ignore_patterns", "cache_dir", "account_name", "account_key", "sas_token",
    "connection_string", "client_id", "client_secret", "tenant_id", "options",
}  # fmt: skip
_KEY = re.compile(r"^[ \t]*(?P<shown>(?:- +)*(?P<key>[a-z_]+))(?=[ :]|$)", re.MULTILINE)
#: The key of a value that has none.
_NO_KEY = ""
#: Signs of an address, also of one that lost a slash: it may hold a password.
_OF_ADDRESSES = re.compile(r":/|@")
#: Signs of YAML, which may be where a text does not parse.
_SIGNS = tuple("\"'[]{}:,-*&!|>%@`?#")
#: A longer line is cut on both sides of its mark.
_LONGEST = 100
_BEFORE_MARK = 30
_MAPPINGS = (yaml.BlockMappingStartToken, yaml.FlowMappingStartToken)
_LISTS = (yaml.BlockSequenceStartToken, yaml.FlowSequenceStartToken)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_BEFORE_VALUES = (*_LISTS, yaml.BlockEntryToken, yaml.FlowEntryToken, yaml.ValueToken)
_STRUCTURE = (*_MAPPINGS, *_CLOSING, *_BEFORE_VALUES, yaml.KeyToken, yaml.DocumentStartToken)


class Excerpt(Struct, frozen=True):
    """A line, and the part of it that is marked.

    Attributes:
        line: its text, as it may be shown.
        start: how many columns of a terminal are before the mark.
        width: how many columns the mark has, at least one.
    """

    line: str
    start: int
    width: int


class _Span(Struct, frozen=True):
    """A part of the text, and whether it is shown."""

    start: int
    end: int
    shown: bool


class Excerpts:
    """The lines of one text.

    Args:
        text: of the file.
        parses: it is valid YAML.
    """

    def __init__(self, text: str, *, parses: bool = True) -> None:
        self._text = text
        self._parses = parses

    @functools.cached_property
    def _lines(self) -> list[int]:
        """Where each line begins, and where the text ends."""
        return [0, *itertools.accumulate(map(len, self._text.splitlines(keepends=True)))]

    @functools.cached_property
    def _spans(self) -> list[_Span]:
        return list(_spans(self._text, parses=self._parses))

    def excerpt(self, line: int, column: int, width: int) -> Excerpt:
        """A line with a mark, all counted from 1."""
        parts = ["", "", ""]
        start, end = ([*self._lines, self._lines[-1]])[line - 1 : line + 1] or (0, 0)
        mark = start + column - 1
        for position, piece in self._pieces(start, end, mark):
            parts[(position >= mark) + (position >= mark + width)] += piece
        before, marked, after = parts
        return _cut(before, marked, after.rstrip())

    def _pieces(self, start: int, end: int, mark: int) -> Iterator[tuple[int, str]]:
        """What is shown of a line: characters and masks, each with its position in the text."""
        position = start
        first = bisect.bisect_right(self._spans, start, key=lambda span: span.end)
        for span in self._spans[first:]:
            if span.start >= end:
                break
            yield from self._gap(position, span.start)
            position, last = max(position, span.start), min(span.end, end)
            if span.shown:
                shown = redact.text(self._text[position:last])
                for at, each in enumerate(shown):
                    yield min(position + at, last - 1), _plain(each)
            else:
                yield from self._hidden(position, min(mark, last))
                yield from self._hidden(max(position, mark), last, is_mark=position <= mark)
            position = last
        yield from self._gap(position, end)

    def _hidden(self, start: int, end: int, *, is_mark: bool = False) -> Iterator[tuple[int, str]]:
        """A mask, behind the white space that is before it; a sign at the mark is shown."""
        text = self._text[start:end].rstrip("\r\n") if start < end else ""
        hidden = text.lstrip()
        blank = len(text) - len(hidden)
        yield from ((start + at, " ") for at in range(blank))
        start += blank
        if is_mark and hidden[:1] in _SIGNS:
            yield start, hidden[:1]
            start, hidden = start + 1, hidden[1:].rstrip()
        if hidden:
            yield start, redact.HIDDEN

    def _gap(self, start: int, end: int) -> Iterator[tuple[int, str]]:
        """White space between tokens; a comment is left out."""
        text = self._text[start:end].rstrip("\r\n")
        for at, each in enumerate(text):
            if not each.isspace():
                return
            yield start + at, " "


def _cut(before: str, marked: str, after: str) -> Excerpt:
    """An excerpt that is not too long."""
    marked = marked if len(marked) <= _LONGEST else f"{marked[: _LONGEST - 3]}..."
    room = _LONGEST - len(before) - len(marked)
    if len(after) > max(room, 0) and len(before) > _BEFORE_MARK:
        before = f"...{before[-_BEFORE_MARK:]}"
        room = _LONGEST - len(before) - len(marked)
    if len(after) > max(room, 0):
        after = f"{after[: max(room - 3, 0)]}..."
    return Excerpt(before + marked + after, _columns(before), max(_columns(marked), 1))


def _plain(character: str) -> str:
    """A character that moves no cursor and changes no direction."""
    return character if character.isprintable() else " " if character.isspace() else "?"


def _columns(text: str) -> int:
    """How wide a terminal draws a text."""
    if text.isascii():
        return len(text)
    widths = (
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )
    return sum(widths)


def _spans(text: str, *, parses: bool) -> Iterator[_Span]:
    """The parts of a text that are tokens, in their order."""
    rule = _Rule()
    position = 0
    try:
        for token in yaml.scan(text, Loader=Loader):
            start, end = _extent(text, token)
            is_shown = rule.is_shown(token)
            if not parses and is_long_quote(token):
                break  # its quote may belong to another value, and so may all quotes below
            if end > start:
                yield _Span(start, end, is_shown)
                position = end
        else:
            return
    except yaml.YAMLError:
        pass
    for found in _KEY.finditer(text, position):
        if found["key"] in _KEYS:
            yield _Span(position, found.start("shown"), shown=False)
            yield _Span(found.start("shown"), found.end("shown"), shown=True)
            position = found.end("shown")
    yield _Span(position, len(text), shown=False)


def is_long_quote(token: Any) -> bool:
    """Whether a token is a value in quotes that goes over several lines."""
    is_quoted = isinstance(token, yaml.ScalarToken) and token.style in ("'", '"')
    return is_quoted and token.start_mark.line != token.end_mark.line


def _extent(text: str, token: Any) -> tuple[int, int]:
    """Where a token is; a plain or a block scalar ends before the white space behind it."""
    start, end = token.start_mark.index, token.end_mark.index
    if isinstance(token, yaml.ScalarToken):
        end = start + len(text[start:end].rstrip())
    return start, end


class _Frame(Struct):
    """An open collection.

    Attributes:
        is_open: what is in it may be shown.
        around: the key of all its entries, if it is a list; None where no key is around it.
        key: of the value that may come now.
        through_list: a list is between the key and what comes now.
    """

    is_open: bool
    around: str | None
    key: str | None
    through_list: bool = False


class _Rule:
    """Says of each token in turn whether it is shown.

    A value belongs to a key only where key, colon and value follow each other: in a flow mapping,
    ``a: b secret_key: x`` has two colons behind one key, and ``{a: b, x}`` an entry without one.
    """

    def __init__(self) -> None:
        self._open = [_Frame(is_open=True, around=None, key=None)]
        self._is_key = self._is_keyed = self._is_value = False

    def is_shown(self, token: Any) -> bool:
        """Take the next token."""
        frame = self._open[-1]
        is_key, is_keyed, is_value = self._is_key, self._is_keyed, self._is_value
        self._is_key = self._is_keyed = self._is_value = False
        if isinstance(token, yaml.ScalarToken):
            if is_key:
                frame.key, frame.through_list = token.value, False
                self._is_keyed = True
                return frame.is_open and redact.key(token.value) == token.value
            return is_value and _is_harmless(frame, token)
        if isinstance(token, yaml.KeyToken):
            frame.key, self._is_key = _NO_KEY, True
        elif isinstance(token, yaml.ValueToken):
            frame.key = frame.key if is_keyed else _NO_KEY
            self._is_value = is_keyed
        elif isinstance(token, yaml.FlowEntryToken):
            frame.key, self._is_value = frame.around, True
        elif isinstance(token, yaml.BlockEntryToken):
            # A list under a key may begin without a token.
            frame.through_list = self._is_value = True
        elif isinstance(token, _LISTS):
            self._open.append(_Frame(frame.is_open, frame.key, frame.key, through_list=True))
            self._is_value = True
        elif isinstance(token, _MAPPINGS):
            self._open.append(_Frame(_holds_keys(frame), _NO_KEY, _NO_KEY))
        elif isinstance(token, _CLOSING) and len(self._open) > 1:
            self._open.pop()
        return isinstance(token, _STRUCTURE)


def _is_harmless(frame: _Frame, token: Any) -> bool:
    """Whether a value is shown: no secret belongs under its key, and it is no address."""
    is_plain = not is_long_quote(token) and not _OF_ADDRESSES.search(token.value)
    return frame.is_open and is_plain and frame.key in SHOWN_VALUES


def _holds_keys(frame: _Frame) -> bool:
    """Whether the keys of a mapping that begins now may be shown."""
    key = frame.key
    if not frame.is_open or key is None or key in _HOLDERS:
        return frame.is_open
    # Not the mapping below a misspelled 'options', which is spelled like 'items'.
    return frame.through_list and nearest(key, _LISTS_OF_KEYS, share=VERY_ALIKE) is not None
