"""Encoded bodies: kaiwo asks for none, but some servers and proxies send them.

The header ``Content-Encoding`` alone says little. Some stores state ``gzip`` for a file that is
itself a .gz, and some proxies leave the word after they have decoded the body. So the bytes decide:

    as many bytes as planned     they are the object; its checksum has the last word
    else, of a whole object      the decoded bytes, if they are as many as planned
    no size is stated            the decoded bytes, unless the file itself is a .gz by its name
    else                         an error; who asked may find that the planned size is wrong

``identity``, ``none``, nothing, and words that are no encoding of HTTP say nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_GZIP, _DEFLATE = {"gzip", "x-gzip"}, {"deflate"}
#: https://www.iana.org/assignments/http-parameters: all but identity.
_KNOWN = _GZIP | _DEFLATE | {
    "aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd",
}  # fmt: skip
#: No page of a listing has more bytes, decoded.
MOST_PAGE = 256 << 20
#: Input is decoded in pieces of this size, so that a small body cannot become a large one unseen.
_PIECE = 1 << 16


class EncodingError(ValueError):
    """A body cannot be decoded."""


class TooLongError(EncodingError):
    """A decoded body becomes too long."""


def stated(values: Iterable[str]) -> list[str]:
    """The encodings of a body, in the order in which they were applied.

    Args:
        values: of the headers ``Content-Encoding``.
    """
    words = (word.strip().lower() for value in values for word in value.split(","))
    return [word for word in words if word in _KNOWN]


def decoded(chunks: Iterable[bytes], encodings: list[str], most: int) -> Iterator[bytes]:
    """The decoded bytes of a body.

    Args:
        chunks: of the body as it came.
        encodings: that were applied; see ``stated``.
        most: how many bytes the decoded body may have.

    Raises:
        EncodingError: kaiwo cannot decode that, the body is cut, or other bytes follow it.
        TooLongError: it becomes longer.
    """
    if len(encodings) != 1 or encodings[0] not in _GZIP | _DEFLATE:
        raise EncodingError
    decoder = _Decoder(most, is_gzip=encodings[0] in _GZIP)
    for chunk in chunks:
        yield from decoder.feed(bytes(chunk))
    if not decoder.is_whole:
        raise EncodingError


def plain(body: bytes, values: Iterable[str]) -> bytes:
    """A page of a listing that was not to be encoded: decoded, or as it came where it cannot be.

    Args:
        body: all of it.
        values: of the headers ``Content-Encoding``; some proxies decode a body and leave the word.
    """
    try:
        return b"".join(decoded([body], stated(values), MOST_PAGE))
    except EncodingError:
        return body


class _Decoder:
    """Decodes a body; it may consist of several members of gzip, one after the other.

    Attributes:
        is_whole: a member ended with the last byte, or no byte came: so is an empty file sent.
    """

    def __init__(self, most: int, *, is_gzip: bool) -> None:
        self.is_whole = True
        self._left = most
        self._is_gzip = is_gzip
        self._decoder = self._new()
        self._is_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes of a chunk."""
        while data:
            if self._decoder.eof:
                if not self._is_gzip or data.startswith(b"\0"):
                    if data.strip(b"\0"):
                        raise EncodingError
                    return  # only fills the last block
                self._decoder = self._new()
            piece = self._decode(data, min(_PIECE, self._left + 1))
            data = self._decoder.unused_data or self._decoder.unconsumed_tail
            self._is_begun, self.is_whole = True, self._decoder.eof
            self._left -= len(piece)
            if self._left < 0:
                raise TooLongError
            if piece:
                yield piece

    def _new(self) -> zlib._Decompress:
        return zlib.decompressobj(zlib.MAX_WBITS | (16 if self._is_gzip else 0))

    def _decode(self, data: bytes, most: int) -> bytes:
        try:
            return self._decoder.decompress(data, most)
        except zlib.error:
            if self._is_begun or self._is_gzip:
                raise EncodingError from None
        # Some servers send it without the header of zlib.
        self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            return self._decoder.decompress(data, most)
        except zlib.error:
            raise EncodingError from None
