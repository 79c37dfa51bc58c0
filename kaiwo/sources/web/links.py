"""A page of links, as web servers show a folder: the files below it, and where it continues.

    link below the page, no query       a file, or a folder if it ends in ``/``
    the same with a query               the file of that name, if no other link has the name
    rel=next, or a query such as page=2, cursor=...    a further page of the folder
    page/2 below the page               the same
    link to another part of the listed folder          a file there: a page may show all of them
    the page itself in another order or form           nothing new (?C=N;O=D, ?sort=..., ?json)
    any other query                                    left out: kaiwo cannot tell what it is

What is left out is counted, since it may be files. Paths are compared without regard to how they
are escaped.
"""

from __future__ import annotations

import re
from collections import defaultdict
from html.parser import HTMLParser
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import yarl

from kaiwo.net.pages import is_file_name
from kaiwo.net.redirects import Origin
from kaiwo.net.web_urls import plain_name

#: Parameters that lead to a further page.
_FURTHER = re.compile(
    r"page|pg|paged|page[_-]?(?:no|num|number|index|token)|offset|start|from|skip|after|cursor|next|"
    r"(?:key[_-]?|next[_-]?)?marker|(?:next[_-]?)?continuation(?:[_-]?token)?|start[_-]?after|b_start",
    re.IGNORECASE,
)
#: The same, if their value is a number.
_FURTHER_BY_NUMBER = re.compile(r"p|pn|i|s", re.IGNORECASE)
#: The path of a further page, below the folder.
_FURTHER_PATH = re.compile(r"(?:pages?|p)/\d+/?", re.IGNORECASE)
#: Parameters that show the same page in another order, layout or part.
_VIEW = re.compile(
    r"[cofvp]|sort(?:[_-]?by|[_-]?order)?|order(?:[_-]?by)?|desc|asc|reverse|layout|view|theme|lang|"
    r"hl|locale|limit|size|page[_-]?size|per[_-]?page|q|search|filter|hidden",
    re.IGNORECASE,
)
#: Parameters and values that show it in another format, or as an archive.
_FORM = re.compile(r"download|archive|format|type|output|dir|direction|raw", re.IGNORECASE)
_FORMS = re.compile(
    r"|zip|tar|tgz|tar\.gz|json|xml|csv|te?xt|plain|html?|rss|atom|asc|desc|true|1", re.IGNORECASE
)


class Links(HTMLParser):
    """The links of a page.

    Attributes:
        links: addresses, as the page states them.
        further: addresses of the next page, as the page states them.
        base: what they are relative to, if the page says so.
        is_closed: the page has its end.
        asks_for_password: the page has a field for one.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.further: list[str] = []
        self.base = ""
        self.is_closed = False
        self.asks_for_password = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See ``HTMLParser``."""
        found = dict(attrs)
        address, relations = found.get("href"), (found.get("rel") or "").lower().split()
        if tag in ("a", "link") and address and "next" in relations:
            self.further.append(address)
        if tag == "a" and address:
            self.links.append(address)
        elif tag == "base" and address:
            self.base = address
        elif tag == "input" and (found.get("type") or "").lower() == "password":
            self.asks_for_password = True

    def handle_endtag(self, tag: str) -> None:
        """See ``HTMLParser``."""
        self.is_closed = self.is_closed or tag in ("body", "html")


class FolderLinks:
    """What the pages of one folder lead to.

    Args:
        folder: the address of its first page, after redirects.
        root: the folder whose listing it belongs to; None: it is that folder.

    Attributes:
        folder: its address, with a slash at its end.
        further: addresses of pages that are not read yet, in their order.
        asks_for_password: a page of it does.
    """

    def __init__(self, folder: yarl.URL, root: yarl.URL | None = None) -> None:
        self.folder = folder if folder.raw_path.endswith("/") else folder / ""
        self._root = root or self.folder
        self._own_paths = {_canonical(folder.raw_path), _canonical(self.folder.raw_path)}
        self.asks_for_password = False
        self._beside: set[str] = set()
        self.further: list[yarl.URL] = []
        self._seen_pages = {_page_key(folder)}
        self._plain: set[str] = set()
        self._queries: defaultdict[str, set[str]] = defaultdict(set)
        self._left_out: set[str] = set()

    def __len__(self) -> int:
        queries = sum(map(len, self._queries.values()))
        return len(self._plain) + queries + len(self._left_out) + len(self._beside)

    def add(self, page: yarl.URL, links: Links) -> None:
        """The links of a page of this folder.

        Args:
            page: its address, after redirects.
            links: its links.
        """
        self.asks_for_password = self.asks_for_password or links.asks_for_password
        for address in links.further:
            if (link := self._join(page, links.base, address)) is not None:
                self._follow(link)
        pages = {self._join(page, links.base, address) for address in links.further}
        for address in links.links:
            link = self._join(page, links.base, address)
            if link is None:
                continue
            # Without a query and a slash, the next page may be a file too: a chapter of a book.
            if link not in pages or not (link.raw_query_string or link.path.endswith("/")):
                self._add(link)

    def _join(self, page: yarl.URL, base: str, address: str) -> yarl.URL | None:
        """The address of a link of the folder's server, without its fragment; else None."""
        try:
            link = page.join(yarl.URL(base)).join(yarl.URL(address)).with_fragment(None)
        except ValueError:
            return None
        return link if origin_of(link).has_server_of(origin_of(self.folder)) else None

    def _follow(self, link: yarl.URL) -> None:
        key = _page_key(link)
        if key not in self._seen_pages:
            self._seen_pages.add(key)
            self.further.append(link)

    def _add(self, link: yarl.URL) -> None:
        query = link.raw_query_string
        if _canonical(link.raw_path) in self._own_paths:
            if query and _leads_further(query):
                self._follow(link)
            elif query and not _is_view(query):
                self._left_out.add(str(link))
            return
        name = _below(self.folder, link)
        if name is None:
            beside = None if query else _below(self._root, link)
            if beside and origin_of(link).has_server_of(origin_of(self._root)):
                self._beside.add(beside)
        elif not query and _FURTHER_PATH.fullmatch(name):
            self._follow(link)
        elif not query or (name.endswith("/") and _is_view(query)):
            self._plain.add(name)
        else:
            self._queries[name].add(query)

    def beside(self) -> set[str]:
        """The keys of links to other parts of the listed folder, relative to that folder."""
        return self._beside

    def is_at(self, address: str) -> bool:
        """Whether the folder's page has the name that this address ends in."""
        paths = (yarl.URL(address, encoded=True).raw_path, self.folder.raw_path)
        one, other = (_canonical(path.rstrip("/")).rpartition("/")[2] for path in paths)
        return one == other

    def names(self) -> set[str]:
        """The keys below the folder, relative to it; a query is a part of them."""
        return self._plain | {
            # A slash would look like a folder.
            f"{name}?{query.replace('/', '%2F')}"
            for name, queries in self._queries.items()
            for query in queries
            if self._names_a_file(name)
        }

    def left_out(self) -> int:
        """How many links may lead to files that have no key."""
        unnamed = (
            len(queries)
            for name, queries in self._queries.items()
            if name not in self._plain and not self._names_a_file(name)
        )
        return len(self._left_out) + sum(unnamed)

    def _names_a_file(self, name: str) -> bool:
        """Whether all links of that name lead to one file, and it has the name."""
        is_alone = name not in self._plain and len(self._queries[name]) == 1
        return is_alone and not name.endswith("/") and is_file_name(name)


def _below(folder: yarl.URL, link: yarl.URL) -> str | None:
    """The name of a link, relative to a folder; None if it is not below the folder."""
    if not _canonical(link.raw_path).startswith(_canonical(folder.raw_path)):
        return None
    return plain_name(link.raw_path.split("/", folder.raw_path.count("/"))[-1])


def _canonical(path: str) -> str:
    """A path in one of its spellings: ``/~u`` and ``/%7eu`` are one."""
    return "/".join(quote(unquote_to_bytes(segment), safe="") for segment in path.split("/"))


def _page_key(page: yarl.URL) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What tells two pages of a folder apart: not their order."""
    pairs = parse_qsl(page.raw_query_string.replace(";", "&"), keep_blank_values=True)
    return page.raw_path, tuple(sorted(pair for pair in pairs if not _is_of_view(*pair)))


def _leads_further(query: str) -> bool:
    return any(_is_of_page(*pair) for pair in _pairs(query))


def _is_view(query: str) -> bool:
    return all(_is_of_view(*pair) for pair in _pairs(query))


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query.replace(";", "&"), keep_blank_values=True)


def _is_of_page(name: str, value: str) -> bool:
    is_number = _FURTHER_BY_NUMBER.fullmatch(name) is not None and value.isdecimal()
    return bool(value) and (is_number or _FURTHER.fullmatch(name) is not None)


def _is_of_view(name: str, value: str) -> bool:
    if _is_of_page(name, value):
        return False
    if not value and _FORMS.fullmatch(name):
        return True  # such as ?json
    is_form = _FORM.fullmatch(name) is not None and _FORMS.fullmatch(value) is not None
    return is_form or _VIEW.fullmatch(name) is not None


def origin_of(address: yarl.URL) -> Origin:
    """The origin of an address, as yarl reads it."""
    is_default = address.port in (80, 443) and address.is_default_port()
    return Origin(address.scheme, address.host, None if is_default else address.port)
