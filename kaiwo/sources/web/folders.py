"""Reads all pages of a folder; says what cannot be followed.

A further page is one that ``rel=next`` names (in the page, or in the header ``Link``), or a query
such as ``page=2`` on the page itself. Links that kaiwo cannot follow may be files: that is an error
unless the item allows a part.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from email.message import Message

import yarl

from kaiwo.errors import ServiceError, TransientError
from kaiwo.net.answers import Answer
from kaiwo.net.links import next_addresses
from kaiwo.sources.web.links import FolderLinks, Links

#: Pages of a folder, and pages in a row that bring nothing new.
_MOST_PAGES, _MOST_IDLE_PAGES = 10_000, 8
#: Sends a GET, and follows redirects.
Get = Callable[[str], AbstractContextManager[Answer]]


def read_folder(get: Get, first: str, what: str) -> FolderLinks | None:
    """The links of all pages of a folder; None if its first page is no page of links.

    Args:
        get: sends a request.
        first: the address of the first page.
        what: the operation and its object, for messages.

    Raises:
        TransientError: a page is cut.
        ServiceError: the pages have no end.
    """
    found: FolderLinks | None = None
    address, pages, idle = first, 0, 0
    while True:
        with get(address) as answer:
            if answer.content_type != "text/html":
                if found is None:
                    return None
                raise ServiceError(f"{what}: its page {pages + 1} is no page of links")
            links = Links(_text(answer))
            named = answer.headers
            is_sized = "Content-Length" in named or "Transfer-Encoding" in named
            page = yarl.URL(answer.address, encoded=True)
        if not (is_sized or links.is_closed):
            raise TransientError(f"{what}: the page of links is cut")
        links.further += next_addresses(named.getlist("Link"))
        found = found or FolderLinks(page)
        before = len(found)
        found.add(page, links)
        pages, idle = pages + 1, 0 if len(found) > before else idle + 1
        if not found.further:
            return found
        if pages >= _MOST_PAGES or idle >= _MOST_IDLE_PAGES:
            raise ServiceError(f"{what}: its pages have no end: {pages} were read")
        address = str(found.further.pop(0))


def _text(answer: Answer) -> str:
    """The text of a page; what cannot be read stands as a question mark."""
    kind = Message()
    kind["Content-Type"] = answer.header("Content-Type") or ""
    charset = kind.get_content_charset() or "utf-8"
    body = answer.body()
    try:
        return body.decode(charset, "replace")
    except LookupError:
        return body.decode(errors="replace")
