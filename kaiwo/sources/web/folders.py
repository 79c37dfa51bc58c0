"""Reads all pages of a folder; says what cannot be followed.

A further page is one that ``rel=next`` names (in the page, or in the header ``Link``), or a query
such as ``page=2`` on the page itself. Links that kaiwo cannot follow may be files: that is an error
unless the item allows a part.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
import yarl

from kaiwo.errors import ServiceError, TransientError
from kaiwo.net.links import next_addresses
from kaiwo.sources.web.links import FolderLinks, Links

#: Pages of a folder, and pages in a row that bring nothing new.
_MOST_PAGES, _MOST_IDLE_PAGES = 10_000, 8
#: Sends a GET, and follows redirects.
Get = Callable[[yarl.URL], Awaitable[aiohttp.ClientResponse]]


async def read_folder(get: Get, first: yarl.URL, what: str) -> FolderLinks | None:
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
        async with await get(address) as answer:
            if answer.content_type != "text/html":
                if found is None:
                    return None
                raise ServiceError(f"{what}: its page {pages + 1} is no page of links")
            links = Links(await answer.text(errors="replace"))
            sized = {"Content-Length", "Transfer-Encoding"} & answer.headers.keys()
        if not (sized or links.is_closed):
            raise TransientError(f"{what}: the page of links is cut")
        links.further += next_addresses(answer.headers.getall("Link", []))
        found = found or FolderLinks(answer.url)
        before = len(found)
        found.add(answer.url, links)
        pages, idle = pages + 1, 0 if len(found) > before else idle + 1
        if not found.further:
            return found
        if pages >= _MOST_PAGES or idle >= _MOST_IDLE_PAGES:
            raise ServiceError(f"{what}: its pages have no end: {pages} were read")
        address = found.further.pop(0)
