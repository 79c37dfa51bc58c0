"""What a server states of a file: the headers of a HEAD, and of a GET if they lack some.

    HEAD                     size, and a strong ETag or Last-Modified: that is enough
    GET of the first byte    some servers answer a HEAD with nothing, or with length 0, or with the
                             length of an encoded body
    GET                      some answer a range without the size of the whole; the body is not read

A HEAD that an answer contradicted is not believed again, nor is the size beside a range: the GET
decides. What is unknown is no number: the length of a part is not that of the file. The length of
an encoded body counts only where no answer states the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from urllib3 import HTTPHeaderDict
from urllib3.exceptions import ProtocolError

from kaiwo.net.answers import Answer
from kaiwo.net.statuses import RefusedError
from kaiwo.sources.answers import strong_etag
from kaiwo.sources.web.headers import WHOLE, is_encoded, is_in_chunks, stated_size

#: Statuses of a HEAD that a GET would get too. Other refusals may concern the HEAD only: an
#: address that is signed for GET, a server that knows no HEAD.
_HEAD_COUNTS = {401, 407, 410, 429, 503}
_NO_SUCH_RANGE = 416
#: Sends a request for the file: method and headers.
Send = Callable[[str, Mapping[str, str]], AbstractContextManager[Answer]]


def fetch_headers(send: Send, *, believes_head: bool) -> HTTPHeaderDict:
    """The headers of a file; ``Content-Length`` is its size, or is left out.

    Args:
        send: sends a request for the file.
        believes_head: no answer contradicted a HEAD of this file.
    """
    stated = HTTPHeaderDict()
    if believes_head:
        try:
            with send("HEAD", {}) as answer:
                stated.update(answer.headers if answer.status != _NO_SUCH_RANGE else {})
        except RefusedError as refused:
            if refused.status in _HEAD_COUNTS:
                raise
        except ProtocolError:
            stated.clear()  # some servers close the connection after a HEAD that they do not know
    size = stated_size(stated)
    is_identified = strong_etag(stated.get("ETag")) or "Last-Modified" in stated
    if size and is_identified and not is_encoded(stated):
        return stated
    more = _start_of_get(send, {"Range": "bytes=0-0"} if believes_head else {})
    if stated_size(more) is None and not size:
        more = _start_of_get(send, {})
    return _together(stated, more)


def _together(head: HTTPHeaderDict, get: HTTPHeaderDict) -> HTTPHeaderDict:
    """What a GET states, and what a HEAD states besides."""
    if is_encoded(get) and stated_size(head):
        get.discard("Content-Length")  # of the encoded body: the other one may be the plain one
    elif is_encoded(head) and not is_encoded(get):
        head.discard("Content-Encoding")
        head.discard("Content-Length")
    elif not stated_size(head):
        head.discard("Content-Length")  # 0 may say that a HEAD has no body
    head.update(get)
    return head


def _start_of_get(send: Send, headers: Mapping[str, str]) -> HTTPHeaderDict:
    with send("GET", headers) as answer:
        found, status = answer.headers.copy(), answer.status
    is_whole = status in WHOLE
    is_stated = "Content-Range" in found or (is_whole and not is_in_chunks(found))
    size = stated_size(found) if is_stated else None
    if not is_whole:
        found.discard("Content-MD5")  # of the part
    for name in ("Content-Length", "Content-Range"):
        found.discard(name)
    if size is not None:
        found["Content-Length"] = str(size)
    return found
