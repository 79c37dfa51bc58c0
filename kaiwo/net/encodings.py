"""Encoded bodies: kaiwo asks for none, but some servers and proxies send them.

The header ``Content-Encoding`` alone says little. Some stores state ``gzip`` for a file that is
itself a .gz, and some proxies leave the word after they have decoded the body. So the bytes decide:

    as many bytes as planned     they are the object; its checksum has the last word
    else, of a whole object      the decoded bytes, if they are as many as planned
    no size is stated            the decoded bytes, unless the file itself is a .gz by its name
    else                         an error

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
#: Input is decoded in pieces of this size, so that a small body cannot become a large one unseen.
_PIECE = 1 << 16


class EncodingError(ValueError):
    """A body cannot be decoded, or becomes too long."""


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
        EncodingError: kaiwo cannot decode that, the body is cut, or becomes longer.
    """
    if len(encodings) != 1 or encodings[0] not in _GZIP | _DEFLATE:
        raise EncodingError
    decoder = zlib.decompressobj(zlib.MAX_WBITS | (16 if encodings[0] in _GZIP else 0))
    left = most
    try:
        for chunk in chunks:
            pending = bytes(chunk)
            while pending and not decoder.eof:
                piece = decoder.decompress(pending, min(_PIECE, left + 1))
                pending = decoder.unconsumed_tail
                left -= len(piece)
                if left < 0:
                    raise EncodingError
                if piece:
                    yield piece
    except zlib.error:
        raise EncodingError from None
    if not decoder.eof:
        raise EncodingError
