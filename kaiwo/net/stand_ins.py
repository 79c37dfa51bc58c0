"""How to tell what servers send in place of a file: a Git LFS pointer, or a page of HTML."""

from __future__ import annotations

import re

from kaiwo.protocols import Buffer

#: A pointer is shorter (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
MOST_POINTER = 1024
_POINTER = re.compile(
    rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v\d+\r?\n.*^oid \w+:[0-9a-f]+\r?$",
    re.DOTALL | re.MULTILINE,
)
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
#: The first bytes of a page, which show that it is one.
PAGE_START = 4096


def is_pointer(data: Buffer) -> bool:
    """Whether these are the bytes of a Git LFS pointer."""
    return len(data) < MOST_POINTER and _POINTER.match(data) is not None


def is_page(data: Buffer) -> bool:
    """Whether these bytes begin as a page of HTML does."""
    return _PAGE.match(bytes(memoryview(data)[:PAGE_START])) is not None
