"""The head of an answer, without what kaiwo does not need and Python's client does not take.

informational answers (1xx, such as 103)    come before the answer, and are skipped
metadata of users                           stores state it in headers, more than 100 at times
"""

from __future__ import annotations

import http.client
import re
from typing import BinaryIO

#: All but 101, which ends HTTP.
_INFORMATIONAL = re.compile(rb"HTTP/\d\.\d\s+1(?!01)\d\d\b")
#: An answer may be preceded by that many.
_MOST_INFORMATIONAL = 32
_METADATA = re.compile(rb"x-[a-z]+-meta-", re.IGNORECASE)


class PlainResponse(http.client.HTTPResponse):
    """An answer whose head is read so."""

    def begin(self) -> None:
        """See ``HTTPResponse``."""
        plain = self.fp
        self.fp = _Head(plain)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is not None:  # closed after a line that is no status
                self.fp = plain


class _Head:
    """The lines of an answer's head, without informational answers and metadata of users."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._is_begun = False

    def readline(self, limit: int = -1) -> bytes:
        """The next line that counts."""
        line = self._lines.readline(limit)
        if not self._is_begun:
            self._is_begun = True
            return self._skip_informational(line, limit)
        while _METADATA.match(line):
            line = self._lines.readline(limit)
            while line[:1] in (b" ", b"\t"):  # the header goes on
                line = self._lines.readline(limit)
        return line

    def close(self) -> None:
        """Close the lines."""
        self._lines.close()

    def _skip_informational(self, line: bytes, limit: int) -> bytes:
        for _ in range(_MOST_INFORMATIONAL):
            if not _INFORMATIONAL.match(line):
                return line
            while self._lines.readline(limit) not in (b"\r\n", b"\n", b""):
                pass
            line = self._lines.readline(limit)
        raise http.client.BadStatusLine("only informational answers")
