"""What the pages of one folder lead to: the files below it, and where it continues.

    link below the page, no query       a file, or a folder if it ends in ``/``
    the same with a query               the file of that name, if no other link has the name
    rel=next, or a query such as page=2, cursor=...    a further page of the folder
    page/2 below the page               the same
    page2.html, or words such as Next   the page itself decides, see ``folders``
    link to another part of the listed folder          a file there: a page may show all of them
    the page itself in another order or form           nothing new (?C=N;O=D, ?sort=..., ?json)
    any other query, and no address     left out: kaiwo cannot tell what it is
    a:b.bin                             a file: no web address has a scheme like that; what has the
                                        scheme of something else (mailto:) is none, unless the page
                                        shows it as a name

What is left out is counted, since it may be files. Paths are compared without regard to how they
are escaped.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl

import yarl

from kaiwo.net.pages import is_file_name, may_be_page
from kaiwo.sources.web import further
from kaiwo.sources.web.anchors import Anchor, Links
from kaiwo.sources.web.link_addresses import as_relative, below, canonical, origin_of

#: Names that differ in their numbers only are tried that often.
_MOST_MISSES = 3


class Guess(NamedTuple):
    """A link that may lead to a further page.

    Attributes:
        address: where it leads.
        name: of the file that it may be instead, relative to the folder; None if it is none.
        is_shown_as_file: the page shows the name, as it does for files.
        is_stated: the page says that it is the next one.
    """

    address: yarl.URL
    name: str | None
    is_shown_as_file: bool
    is_stated: bool = False


class FolderLinks:
    """What the pages of one folder lead to.

    Args:
        folder: the address of its first page, after redirects.
        root: the folder whose listing it belongs to; None: it is that folder.

    Attributes:
        folder: its address, with a slash at its end.
        further: addresses of pages that are not read yet, in their order.
        guesses: links that may lead to such pages.
        doubtful: keys of links that may lead to nothing.
        asks_for_password: a page of it does.
    """

    def __init__(self, folder: yarl.URL, root: yarl.URL | None = None) -> None:
        self.folder = folder if folder.raw_path.endswith("/") else folder / ""
        self._root = root or self.folder
        self._own_paths = {canonical(folder.raw_path), canonical(self.folder.raw_path)}
        self.asks_for_password = False
        self._beside: set[str] = set()
        self.further: list[yarl.URL] = []
        self._seen_pages = {_page_key(folder)}
        self._plain: set[str] = set()
        self._queries: defaultdict[str, set[str]] = defaultdict(set)
        self._left_out: set[str] = set()
        self.guesses: list[Guess] = []
        self.doubtful: set[str] = set()
        #: Names of further pages, which are no files.
        self._pages: set[str] = set()
        #: Names that each page shows.
        self._shown: list[set[str]] = []
        self._misses: Counter[str] = Counter()

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
        self._shown.append(set())
        pages = set()
        for address in links.further:
            if (link := self._join(page, links.base, address)) is not None:
                pages.add(link)
                self._follow_stated(link, links)
        for anchor in links.links:
            link = self._join(page, links.base, anchor.address, anchor.words)
            if link is None:
                continue
            if link not in pages or not (link.raw_query_string or link.path.endswith("/")):
                self._add(link, anchor)
        for button in links.forms:
            if further.leads_on(button.words):
                link = self._join(page, links.base, button.address) if button.address else None
                if link is None:
                    self._left_out.add(f"{page}#{button.words}")
                else:
                    self._follow(link)

    def _join(self, page: yarl.URL, base: str, address: str, words: str = "") -> yarl.URL | None:
        """The address of a link of the folder's server, without its fragment; else None."""
        relative = as_relative(address, words)
        if relative is None:
            return None
        try:
            link = page.join(yarl.URL(base)).join(yarl.URL(relative)).with_fragment(None)
            is_here = origin_of(link).has_server_of(origin_of(self.folder))
        except ValueError:
            if not address.startswith("//") and "://" not in address:
                self._left_out.add(address)
            return None
        if is_here and address not in (relative, words):
            self.doubtful.add(below(self.folder, link) or "")
        return link if is_here else None

    def _follow_stated(self, link: yarl.URL, links: Links) -> None:
        """Follow what a page says is the next one; it may be a file, too: a chapter of a book."""
        name = None if link.raw_query_string else below(self.folder, link)
        if not name or name.endswith("/"):
            self._follow(link)
        elif (key := _page_key(link)) not in self._seen_pages:
            self._seen_pages.add(key)
            words = (each.words for each in links.links if each.address in links.further)
            is_shown = any(further.is_named(each, name) for each in words)
            self.guesses.append(Guess(link, name, is_shown, is_stated=True))

    def _follow(self, link: yarl.URL) -> None:
        key = _page_key(link)
        if key not in self._seen_pages:
            self._seen_pages.add(key)
            self.further.append(link)

    def _add(self, link: yarl.URL, anchor: Anchor) -> None:
        query = link.raw_query_string
        if canonical(link.raw_path) in self._own_paths:
            if query and further.leads_further(query, anchor.words):
                self._follow(link)
            elif query and not further.is_view(query):
                self._left_out.add(str(link))
            return
        name = below(self.folder, link)
        self._guess(link, name, anchor)
        if name is None:
            beside = None if query else below(self._root, link)
            if beside and origin_of(link).has_server_of(origin_of(self._root)):
                self._beside.add(beside)
                self._shown[-1].add(beside)
        elif not query and further.FURTHER_PATH.fullmatch(name):
            self._follow(link)
        else:
            self._shown[-1].add(name)
            if not query or (name.endswith("/") and further.is_view(query)):
                self._plain.add(name)
            else:
                self._queries[name].add(query)

    def _guess(self, link: yarl.URL, name: str | None, anchor: Anchor) -> None:
        """Note a link that may lead to a further page, by its query, its name or its words."""
        query, own_name = link.raw_query_string, link.path.rpartition("/")[2]
        if not own_name or not may_be_page([own_name]) or (name and "/" in name):
            return
        is_shown = further.is_named(anchor.words, own_name)
        says_so = not is_shown and further.leads_on(anchor.words)
        if name is not None and not says_so:
            is_number = not is_shown and further.is_number(anchor.words)
            says_so = is_number or (
                further.leads_further(query) if query else further.has_name_of_page(own_name)
            )
        if says_so and (key := _page_key(link)) not in self._seen_pages:
            self._seen_pages.add(key)
            file = f"{name}?{query}" if query else name
            self.guesses.append(Guess(link, None if name is None else file, is_shown))

    def next_guess(self) -> Guess:
        """The next link to try: one that the page says is next, else the smallest number."""
        guess = min(self.guesses, key=lambda each: (not each.is_stated, _number(each.address)))
        self.guesses.remove(guess)
        return guess

    def take_guess(self, guess: Guess, read: tuple[yarl.URL, Links] | None) -> None:
        """Decide what a link leads to: a further page of the folder, whose links count, or a file.

        It is a page if it leads to files that no page before has shown. With a name, it stays a
        file if the pages show it as one, or if it leads to other pages of HTML only.

        Args:
            guess: the link.
            read: the page that it leads to; None: none.
        """
        new = self._new_files(guess, *read) if read is not None else set()
        if not new:
            self._miss(guess)
            return
        if read is not None:
            self.add(*read)
        if guess.is_shown_as_file or all(may_be_page([each]) for each in new):
            self.doubtful |= new
        elif guess.name is not None:
            self._pages.add(guess.name)

    def _new_files(self, guess: Guess, page: yarl.URL, links: Links) -> set[str]:
        trial = FolderLinks(self.folder, self._root)
        trial.add(page, links)
        theirs = trial._files()
        is_file = guess.is_shown_as_file or guess.name is None or not theirs
        if not is_file and any(theirs == self._without_pages(shown) for shown in self._shown):
            self._pages.add(guess.name or "")  # a page that was read under another name
        return theirs - self._files() - {guess.name}

    def _miss(self, guess: Guess) -> None:
        """A folder of many files whose names are like those of pages is not read whole."""
        if guess.name in self._pages:
            return
        kind = _kind(guess.address)
        self._misses[kind] += 1
        if self._misses[kind] >= _MOST_MISSES:
            self.guesses = [each for each in self.guesses if _kind(each.address) != kind]

    def _files(self) -> set[str]:
        """What is shown, without the names that may be those of pages."""
        return self._without_pages((*self._plain, *self._queries, *self._beside))

    def _without_pages(self, names: Iterable[str]) -> set[str]:
        pages = {guess.name for guess in self.guesses} | self._pages
        return {name for name in names if name not in pages and not further.has_name_of_page(name)}

    def beside(self) -> set[str]:
        """The keys of links to other parts of the listed folder, relative to that folder."""
        return self._beside

    def is_at(self, address: str) -> bool:
        """Whether the folder's page has the name that this address ends in."""
        paths = (yarl.URL(address, encoded=True).raw_path, self.folder.raw_path)
        one, other = (canonical(path.rstrip("/")).rpartition("/")[2] for path in paths)
        return one == other

    def names(self) -> set[str]:
        """The keys below the folder, relative to it; a query is a part of them."""
        plain = self._plain - self._pages
        return plain | {
            # A slash would look like a folder.
            f"{name}?{query.replace('/', '%2F')}"
            for name, queries in self._queries.items()
            for query in queries
            if self._names_a_file(name) and f"{name}?{query}" not in self._pages
        }

    def left_out(self) -> int:
        """How many links may lead to files that have no key."""
        unnamed = (
            sum(f"{name}?{query}" not in self._pages for query in queries)
            for name, queries in self._queries.items()
            if name not in self._plain and not self._names_a_file(name)
        )
        return len(self._left_out) + sum(unnamed)

    def _names_a_file(self, name: str) -> bool:
        """Whether all links of that name lead to one file, and it has the name."""
        is_alone = name not in self._plain and len(self._queries[name]) == 1
        return is_alone and not name.endswith("/") and is_file_name(name)


def _number(address: yarl.URL) -> tuple[int, str]:
    """What orders pages: the last number of an address."""
    text = f"{address.raw_name}?{address.raw_query_string}"
    return int((re.findall(r"\d{1,9}", text) or ["0"])[-1]), text


def _kind(address: yarl.URL) -> str:
    """What the addresses of pages have in common: all but numbers."""
    return re.sub(r"\d+", "", f"{address.raw_path}?{address.raw_query_string}")


def _page_key(page: yarl.URL) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What tells two pages of a folder apart: not their order."""
    pairs = parse_qsl(page.raw_query_string.replace(";", "&"), keep_blank_values=True)
    return page.raw_path, tuple(sorted(pair for pair in pairs if not further.is_of_view(*pair)))
