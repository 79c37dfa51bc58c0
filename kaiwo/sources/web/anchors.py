"""Reads a page of HTML: its links and their words, and what it says of itself."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urlencode

#: White space that browsers drop in an address.
_DROPPED = str.maketrans("", "", "\t\r\n")


class Anchor(NamedTuple):
    """A link as a page states it.

    Attributes:
        address: may be relative.
        words: that the page shows for it; the label for those who cannot see it, and its title.
    """

    address: str
    words: str = ""


class Links(HTMLParser):
    """The links of a page.

    Attributes:
        links: that the page shows.
        further: addresses of the next page, as the page states them.
        base: what they are relative to, if the page says so.
        forms: addresses that the buttons of its forms lead to, and their words; without an address
            where a button sends something.
        is_closed: the page has its end.
        asks_for_password: the page has a field for one.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[Anchor] = []
        self.further: list[str] = []
        self.forms: list[Anchor] = []
        self.base = ""
        self.is_closed = False
        self.asks_for_password = False
        self._open: str | None = None
        self._words: list[str] = []
        self._form: dict[str, str | None] | None = None
        self._fields: dict[str, str] = {}
        self.feed(page)
        self._end_link()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See ``HTMLParser``."""
        found = dict(attrs)
        address = (found.get("href") or "").strip().translate(_DROPPED)
        if tag in ("a", "link") and address and "next" in (found.get("rel") or "").lower().split():
            self.further.append(address)
        if tag == "a":
            self._end_link()
        if tag in ("a", "area") and address:
            self._open = address
            self._words = [found.get("aria-label") or found.get("title") or ""]
        elif tag == "base" and address:
            self.base = self.base or address
        elif tag == "img" and self._open is not None:
            self._words.append(found.get("alt") or "")
        elif tag == "option" and (found.get("value") or "").startswith("?"):
            self.links.append(Anchor(found["value"] or ""))
        elif tag == "form":
            self._form, self._fields = found, {}
        elif tag in ("input", "button"):
            self._take_field(found)
        if tag == "area":
            self._end_link()

    def handle_data(self, data: str) -> None:
        """See ``HTMLParser``."""
        if self._open is not None:
            self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        """See ``HTMLParser``."""
        self.is_closed = self.is_closed or tag in ("body", "html")
        if tag == "a":
            self._end_link()
        elif tag == "form":
            self._form = None

    def _end_link(self) -> None:
        if self._open is not None:
            shown = " ".join(" ".join(self._words[1:]).split())
            self.links.append(Anchor(self._open, shown or self._words[0].strip()))
        self._open = None

    def _take_field(self, field: dict[str, str | None]) -> None:
        kind = (field.get("type") or "").lower()
        self.asks_for_password = self.asks_for_password or kind == "password"
        name, value = field.get("name"), field.get("value") or ""
        if self._form is None:
            return
        if kind == "hidden" and name:
            self._fields[name] = value
        elif kind in ("submit", "button", "") and value:
            fields = {**self._fields, **({name: value} if name else {})}
            is_get = (self._form.get("method") or "get").lower() == "get"
            action = (self._form.get("action") or "").partition("?")[0]
            self.forms.append(Anchor(f"{action}?{urlencode(fields)}" if is_get else "", value))
