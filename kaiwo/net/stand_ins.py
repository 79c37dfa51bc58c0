"""How to tell what servers send in place of a file.

pointer    a few lines in a Git repository that name a file elsewhere: of Git LFS, Xet, git-annex
page       of HTML, also in XML and in UTF-16
refusal    the words of a service that refuses: an error in JSON or XML, or a line of text
"""

from __future__ import annotations

import json
import re

from kaiwo.protocols import Buffer


def is_of_text(letter: str) -> bool:
    """Whether a text may have this letter."""
    return letter.isprintable() or letter.isspace()


#: A pointer is shorter (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
MOST_POINTER = 1024
#: The first bytes of a page, which show that it is one.
PAGE_START = 4096
_POINTERS = {
    "Git LFS": re.compile(
        rb"\s*version https?://(?:(?:git-lfs|hawser)\.github\.com/spec/v|git-media\.io/v/)\d+\s*\n"
        rb".*^oid \w+:[0-9a-f]+\s*$",
        re.DOTALL | re.MULTILINE,
    ),
    "Xet": re.compile(rb"\s*# xet version \d+\s*\n.*^hash = ", re.DOTALL | re.MULTILINE),
    # Of a file that is a link in the repository, the text is where the link leads.
    "git-annex": re.compile(rb"\s*(?:(?:\.\./)*\.git)?/?annex/objects/\S+\s*"),
}
_PAGE = re.compile(
    rb"\s*(?:(?:<\?xml\b[^>]*\?>|<!--.*?-->)\s*)*"
    rb"<(?:!doctype\s+html|html|head|body|title|meta|script)\b",
    re.IGNORECASE | re.DOTALL,
)
#: The first byte of a page: a space, a bracket, or of a mark or a letter of UTF-8 and UTF-16.
_PAGE_BEGINS = frozenset(bytes([each]) for each in b" \t\n\v\f\r<\xef\xff\xfe\0")
#: A binary file has other bytes than these among its first ones.
_OF_TEXT, _HEAD = bytes(each for each in range(256) if each & 0x80 or is_of_text(chr(each))), 64
#: Longer texts are no refusals: in JSON or XML, and in a few lines of words.
MOST_DOCUMENT = 1 << 16
_MOST_WORDS = 1024
_NAMES_OF_ERRORS = frozenset(
    (
        *("error", "errors", "error_code", "errorcode", "error_message", "errormessage"),
        *("exception", "message", "msg", "detail", "details", "reason", "fault"),
        *("status", "status_code", "title"),
    )
)
_XML_ERROR = re.compile(
    rb"\s*(?:<\?xml\b[^>]*\?>\s*)?<(?:\w+:)?(?:error|errorresponse|fault|envelope)\b", re.IGNORECASE
)
_WORDS_OF_ERRORS = re.compile(
    r"\s*(?:error\b|[45]\d\d\b)|\b(?:not found|no such|does not exist|forbidden|unauthori[sz]ed|"
    r"(?:access|permission)(?: is| was)? denied|expired|too many requests|rate limit|sign in|"
    r"log ?in|internal server error|bad gateway|service unavailable)\b",
    re.IGNORECASE,
)


def pointer_kind(data: Buffer) -> str | None:
    """Of which tool these bytes are a pointer; None if they are none."""
    if len(data) >= MOST_POINTER:
        return None
    return next((kind for kind in _POINTERS if _POINTERS[kind].match(data)), None)


def markup(data: Buffer) -> bytes:
    """The first bytes of a text, in which markup is ASCII: UTF-16 is not."""
    start = bytes(memoryview(data)[:PAGE_START])
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if start.startswith(mark):
            return start[2:].decode(encoding, "ignore").encode()
    for begins, encoding in ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be")):
        if start.startswith(begins):
            return start.decode(encoding, "ignore").encode()
    return start.removeprefix(b"\xef\xbb\xbf")


def is_page(data: Buffer) -> bool:
    """Whether these bytes begin as a page of HTML does."""
    return bytes(data[:1]) in _PAGE_BEGINS and _PAGE.match(markup(data)) is not None


def is_refusal(data: Buffer) -> bool:
    """Whether these bytes are all that a service says when it refuses, and no binary file."""
    if len(data) > MOST_DOCUMENT or bytes(data[:_HEAD]).translate(None, _OF_TEXT):
        return False
    text = bytes(data).removeprefix(b"\xef\xbb\xbf").strip()
    if text.startswith(b"<"):
        return _XML_ERROR.match(text) is not None
    try:
        words = text.decode()
        if text.startswith(b"{"):
            found = json.loads(words)
            return any(str(name).lower() in _NAMES_OF_ERRORS for name in found)
    except (ValueError, RecursionError):
        return False
    is_text = len(words) < _MOST_WORDS and all(map(is_of_text, words))
    return is_text and _WORDS_OF_ERRORS.search(words) is not None
