"""Tells a page of HTML that comes in place of a file, such as a page to sign in: it is refused.

The answer says ``text/html``, and its body begins with ``<``: servers state the type of many files
wrongly. Then the names of the file decide, of its address and of its target:

    one is a page's name (.html, .htm, ...)       the page is the file
    one has another extension                     the page is refused
    no extension, or a script's (.php, ...)       such a name may be a page: it is the file

See docs/decisions/0042.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kaiwo.net.answers import Answer
from kaiwo.net.stand_ins import PAGE_START, markup

#: Names of documents in markup.
_PAGES = frozenset(
    [
        "html",
        "htm",
        "xhtml",
        "xht",
        "shtml",
        "mhtml",
        "xml",
        "xsl",
        "xslt",
        "svg",
        "rss",
        "atom",
        "vue",
        "jinja",
    ]
)
#: Names of programs, which say nothing about what they send.
_SCRIPTS = frozenset(["php", "asp", "aspx", "jsp", "jspx", "cgi", "pl", "do", "action", "cfm"])
#: Letters and digits, with a letter: ``model.v2`` has an extension, ``model-1.0`` has none.
_EXTENSION = re.compile(r"\.([0-9]*[a-z][a-z0-9]*)$", re.IGNORECASE)
#: Files that are encoded themselves.
_ENCODED = re.compile(r"\.(?:t?gz|gzip|z|svgz|emz|br|zst|zz)$", re.IGNORECASE)
_ENCODED_TYPES = {"application/gzip", "application/x-gzip", "application/zlib", "application/zstd"}
#: Types of pages.
PAGE_TYPES = ("text/html", "application/xhtml+xml")


def may_be_page(names: Iterable[str]) -> bool:
    """Whether a page may be the file of these names."""
    found = (_EXTENSION.search(name) for name in names)
    extensions = {match[1].lower() for match in found if match} - _SCRIPTS
    return not extensions or bool(extensions & _PAGES)


def is_file_name(name: str) -> bool:
    """Whether a name has an extension, and not that of a script."""
    match = _EXTENSION.search(name)
    return match is not None and match[1].lower() not in _SCRIPTS


def is_encoded_file(names: Iterable[str], content_type: str) -> bool:
    """Whether the file itself is in the form that an encoding makes: a .gz, most often."""
    return content_type in _ENCODED_TYPES or any(map(_ENCODED.search, names))


def is_page(answer: Answer) -> tuple[bool, bytes]:
    """Whether an answer is a page, and the first bytes of its body if they were read."""
    if answer.content_type not in PAGE_TYPES:
        return False, b""
    if answer.encodings:
        return True, b""  # files are not encoded on the way, pages are
    start = answer.start(PAGE_START)
    return markup(start).lstrip().startswith(b"<"), start
