"""An answer of HTTP: its headers, and its body as the object that was asked for.

The kernel reads a body into the buffer that is handed on. How an encoded body is treated is said
in ``encodings``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import urllib3
from msgspec import Struct
from urllib3.exceptions import HTTPError, IncompleteRead
from urllib3.util import wait_for_read

from kaiwo.errors import OtherLengthError, ServiceError, TransientError
from kaiwo.net import encodings, redirects
from kaiwo.net.encodings import EncodingError, TooLongError
from kaiwo.net.headers import media_type
from kaiwo.net.settings import GATHER_S

#: No answer of an API is longer.
_MOST_BODY = 256 << 20
_PIECE = 1 << 16
#: No object is longer.
_ENDLESS = 1 << 62


class Answer(Struct, frozen=True):
    """An answer whose body is not read yet; valid inside the block that gave it.

    Attributes:
        status: of HTTP.
        headers: of the answer; their names count in any case.
        address: that was requested.
    """

    status: int
    headers: urllib3.HTTPHeaderDict
    address: str
    _raw: urllib3.BaseHTTPResponse

    def __repr__(self) -> str:
        """Without the address and the headers, which may name signed addresses."""
        return f"Answer({self.status})"

    def header(self, name: str) -> str | None:
        """The value of a header, or None; several are joined by commas."""
        return self.headers.get(name)

    @property
    def redirect_target(self) -> str | None:
        """The address that a redirect names; None if the answer is no redirect.

        Raises:
            RedirectError: it must not be followed.
        """
        location = self.header("Location") if self.status in redirects.STATUSES else None
        return None if location is None else redirects.target_of(self.address, location)

    @property
    def content_type(self) -> str:
        """The media type in lower case, without its parameters."""
        return media_type(self.header("Content-Type"))

    @property
    def length_left(self) -> int | None:
        """Bytes of the body that are not read yet; None if nothing states it."""
        return self._raw.length_remaining

    @property
    def encodings(self) -> list[str]:
        """How the body is encoded, as the answer states it; empty if it is plain."""
        return encodings.stated(self.headers.getlist("Content-Encoding"))

    @property
    def plain_length(self) -> str | None:
        """The length of the body that is stated, unless the body is encoded or comes in chunks."""
        is_open = self.encodings or "Transfer-Encoding" in self.headers
        return None if is_open else self.header("Content-Length")

    def is_decoded(self, planned: int | None, *, decodes: bool) -> bool:
        """Whether ``chunks`` decodes the body; see there."""
        is_plain = self.header("Content-Length") == str(planned)
        return bool(self.encodings) and (decodes if planned is None else not is_plain)

    def take(self, size: int) -> bytes:
        """The body of at most ``size`` bytes; a short body comes back short.

        Args:
            size: of the object, or of its range.

        Raises:
            TransientError: more than ``size`` bytes come.
            OtherLengthError: the body is encoded, and is not ``size`` bytes without that.
            ServiceError: kaiwo cannot decode it.
        """
        data = self._raw.read(size, decode_content=False) or b""
        more = b"" if self._raw.length_remaining == 0 else self._raw.read(1, decode_content=False)
        is_cut = len(data) < size and bool(self.length_left)
        if self.encodings and not is_cut and (more or len(data) != size):
            return b"".join(self._decoded([data, more or b""], size))
        if more:
            raise TransientError(f"the answer has more than the {size} requested bytes")
        return data

    def chunks(
        self, size: int, planned: int | None = None, *, decodes: bool = False
    ) -> Iterator[bytes]:
        """The body in chunks of at most that size, as they arrive.

        A slow connection gives what comes in a twentieth of a second, a fast one full chunks.

        Args:
            size: of a chunk.
            planned: the size of the object or its range, which decides whether an encoded body is
                decoded; None: it is unknown.
            decodes: of an object of unknown size, an encoded body is decoded.

        Raises:
            OtherLengthError: the body is encoded, and is not ``planned`` bytes without that.
            ServiceError: kaiwo cannot decode it.
            urllib3.exceptions.HTTPError: the body is cut; what came before was handed on.
        """
        if self.is_decoded(planned, decodes=decodes):
            yield from self._decoded([], planned)
            return
        while True:
            chunk, error = self._gather(size)
            if chunk:
                yield chunk
            if error is not None:
                raise error
            if not chunk:
                break
        self._require_end()

    def _gather(self, size: int) -> tuple[bytes, Exception | None]:
        """What arrives soon, at most that many bytes; and the failure that came after it."""
        parts: list[bytes] = []
        left, due_s = size, 0.0
        try:
            while part := self._raw.read1(left, decode_content=False):
                parts.append(part)
                left -= len(part)
                due_s = due_s or time.monotonic() + GATHER_S
                if not left or self.length_left == 0 or not self._has_more(due_s):
                    break
        except (HTTPError, OSError) as error:
            return b"".join(parts), error
        return b"".join(parts), None

    def _has_more(self, due_s: float) -> bool:
        """Whether more arrives until then."""
        left_s = due_s - time.monotonic()
        return left_s > 0 and wait_for_read(self._raw, left_s)  # type: ignore[arg-type]  # has a fileno

    def start(self, size: int) -> bytes:
        """The first bytes of the body; fewer if it is shorter."""
        return self._raw.read(size, decode_content=False) or b""

    def body(self) -> bytes:
        """All of a small body; decoded if it is encoded.

        Raises:
            ServiceError: kaiwo cannot decode it, or it is too long.
            urllib3.exceptions.IncompleteRead: the body is cut.
        """
        data = self.start(_MOST_BODY)
        self._require_end()
        found = self.encodings
        if not found or (found[-1].endswith("gzip") and not data.startswith(b"\x1f\x8b")):
            return data  # some proxies decode a body and leave the word
        try:
            return b"".join(encodings.decoded([data], found, _MOST_BODY))
        except EncodingError:
            raise _unreadable(found) from None

    def _require_end(self) -> None:
        """Refuse a body that is shorter than its stated length."""
        if self.length_left:
            raise IncompleteRead(0, self.length_left)

    def _decoded(self, first: list[bytes], size: int | None) -> Iterator[bytes]:
        """The decoded body of a whole object.

        Args:
            first: what was read of the body already.
            size: of the object; None: unknown.
        """
        found, left = self.encodings, _ENDLESS if size is None else size

        def pieces() -> Iterator[bytes]:
            yield from first
            yield from self.chunks(_PIECE)

        try:
            if "Content-Range" in self.headers:
                raise EncodingError  # noqa: TRY301 - a part cannot be decoded
            for piece in encodings.decoded(pieces(), found, left):
                left -= len(piece)
                yield piece
        except TooLongError:
            raise _unreadable(found, OtherLengthError) from None
        except EncodingError:
            raise _unreadable(found) from None
        if size is not None and left:
            raise _unreadable(found, OtherLengthError)


def _unreadable(found: list[str], kind: type[ServiceError] = ServiceError) -> ServiceError:
    return kind(
        f"the response is {', '.join(found)}-encoded although identity was requested; "
        "is a proxy compressing it?"
    )
