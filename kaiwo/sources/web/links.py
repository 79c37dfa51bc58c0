"""A page of links, as web servers show a folder: what it leads to below itself."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

import yarl

from kaiwo.net.web_urls import plain_name


class Links(HTMLParser):
    """What the links of a page lead to.

    Attributes:
        links: addresses, as they stand there.
        base: what these are relative to, if it is not the page's own address.
        is_closed: its end was there.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base = ""
        self.is_closed = False
        self.feed(page)

    def below(self, page: yarl.URL) -> Sequence[str]:
        """The names that it leads to below its own address, relative to that; none with a query.

        Args:
            page: the address that it came from.
        """
        folder = page if page.raw_path.endswith("/") else page / ""
        found = []
        for address in self.links:
            try:
                link = page.join(yarl.URL(self.base)).join(yarl.URL(address))
            except ValueError:
                continue
            is_below = place_of(link) == place_of(folder) and link.raw_path.startswith(
                folder.raw_path
            )
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


def place_of(address: yarl.URL) -> tuple[str | None, int | None]:
    """Host and port; 80 and 443 are one."""
    default = address.port in (80, 443) and address.is_default_port()
    return address.host, None if default else address.port
