"""A page of links, as web servers show a folder: its links that lead below it."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

import yarl

from kaiwo.net.redirects import Origin
from kaiwo.net.web_urls import plain_name


class Links(HTMLParser):
    """The links of a page.

    Attributes:
        links: addresses, as the page states them.
        base: what they are relative to, if the page says so.
        is_closed: the page has its end.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base = ""
        self.is_closed = False
        self.feed(page)

    def below(self, page: yarl.URL) -> Sequence[str]:
        """The names of the links that lead below the page, relative to it; none with a query.

        Args:
            page: the address of the page.
        """
        folder = page if page.raw_path.endswith("/") else page / ""
        found = []
        for address in self.links:
            try:
                link = page.join(yarl.URL(self.base)).join(yarl.URL(address))
            except ValueError:
                continue
            is_below = origin_of(link).has_server_of(
                origin_of(folder)
            ) and link.raw_path.startswith(folder.raw_path)
            if is_below and link.raw_path != folder.raw_path and not link.raw_query_string:
                found.append(plain_name(link.raw_path[len(folder.raw_path) :]))
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See ``HTMLParser``."""
        address = dict(attrs).get("href")
        if tag == "a" and address:
            self.links.append(address)
        elif tag == "base" and address:
            self.base = address

    def handle_endtag(self, tag: str) -> None:
        """See ``HTMLParser``."""
        self.is_closed = self.is_closed or tag in ("body", "html")


def origin_of(address: yarl.URL) -> Origin:
    """The origin of an address, as yarl reads it."""
    is_default = address.port in (80, 443) and address.is_default_port()
    return Origin(address.scheme, address.host, None if is_default else address.port)
