"""Reads all pages of a folder, and of the folders below it; says what cannot be followed.

A further page is one that ``rel=next`` names (in the page, or in the header ``Link``), or a query
such as ``page=2`` on the page itself. By its name (``page2.html``) or by words (``Next``), a link
may lead to a further page or to a file: the page is read, and is a further one if it shows files
that no page before has shown. Links that kaiwo cannot follow may be files: that is an error unless
the item allows a part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from email.message import Message
from typing import NamedTuple

import yarl

from kaiwo.errors import CredentialsError, ServiceError, TransientError
from kaiwo.net.answers import Answer
from kaiwo.net.links import next_addresses
from kaiwo.net.pages import PAGE_TYPES
from kaiwo.net.statuses import RefusedError
from kaiwo.sources.web.anchors import Links
from kaiwo.sources.web.headers import is_in_chunks
from kaiwo.sources.web.links import FolderLinks

#: Folders below each other; deeper is a server that answers every address with links.
DEEPEST = 64
#: Pages of a folder, and pages in a row that bring nothing new.
_MOST_PAGES, _MOST_IDLE_PAGES = 10_000, 8
#: Refusals that pass; a page must not be missing because of them.
_PASSING = {408, 425, 429}
#: Sends a GET, and follows redirects.
Get = Callable[[str], AbstractContextManager[Answer]]


class Found(NamedTuple):
    """The files below a folder.

    Attributes:
        keys: of the files, sorted.
        doubtful: those that may be missing: something else than a listing leads to them.
        left_out: how many links have no key.
    """

    keys: Sequence[str]
    doubtful: Collection[str]
    left_out: int


def find_keys(
    get: Get,
    address_of: Callable[[str], str],
    describe: Callable[[str], str],
    prefix: str,
    listed: str,
) -> Found:
    """All files below a folder, by the pages of it and of its folders.

    Args:
        get: sends a request.
        address_of: the address of a key.
        describe: the same for messages.
        prefix: the key of the folder.
        listed: the key of the folder that the listing began with; depth counts from there.

    Raises:
        TransientError: a page is cut.
        ServiceError: folders or pages have no end.
        CredentialsError: a page asks for a password.
    """
    found, root = {prefix}, None
    folders, left_out, doubtful = [prefix], 0, set[str]()
    while folders:
        # The last one first: folders without end reach their limit before they multiply.
        folder = folders.pop()
        if folder.count("/") - listed.count("/") > DEEPEST:
            raise ServiceError(f"{describe(listed)}: its folders have no end")
        read = _read_own(get, address_of(folder), f"listing {describe(folder)}", root)
        if read is None:
            # Of the first one nothing is known: it is a file, or is missing.
            left_out += folder != prefix and folder not in doubtful
            continue
        root = root or read.folder
        left_out += read.left_out()
        names = {folder + name for name in read.names()}
        doubtful |= {folder + name for name in read.doubtful} - found
        links = sorted((names | {prefix + name for name in read.beside()}) - found)
        found.update(links)
        folders += [link for link in reversed(links) if link.endswith("/")]
    keys = sorted(link for link in found if link and not link.endswith("/"))
    return Found(keys, doubtful, left_out)


def _read_own(get: Get, address: str, what: str, root: yarl.URL | None) -> FolderLinks | None:
    """The links of a folder; None if another page comes in its place, see ``read_folder``."""
    found = read_folder(get, address, what, root)
    if found is None or found.names() or found.left_out():
        return found
    if found.asks_for_password:
        raise CredentialsError(
            f"{what}: a page that asks for a password came, not a page of links; give the "
            "credentials in options (such as headers)"
        )
    # An empty folder shows itself, under its own name.
    return found if root is None or found.is_at(address) else None


def read_folder(
    get: Get, first: str, what: str, root: yarl.URL | None = None
) -> FolderLinks | None:
    """The links of all pages of a folder; None if its first page is no page of links.

    Args:
        get: sends a request.
        first: the address of the first page.
        what: the operation and its object, for messages.
        root: see ``FolderLinks``.

    Raises:
        TransientError: a page is cut.
        ServiceError: the pages have no end.
    """
    read = _read_page(get, first, what)
    if read is None:
        return None
    page, links = read
    found = FolderLinks(page, root)
    found.add(page, links)
    pages, idle = 1, 0
    _try_guesses(get, what, found)
    while found.further:
        if pages >= _MOST_PAGES or idle >= _MOST_IDLE_PAGES:
            raise ServiceError(f"{what}: its pages have no end: {pages} were read")
        read = _read_page(get, str(found.further.pop(0)), what)
        if read is None:
            raise ServiceError(f"{what}: its page {pages + 1} is no page of links")
        before = len(found)
        found.add(*read)
        pages, idle = pages + 1, 0 if len(found) > before else idle + 1
        if not found.further:
            _try_guesses(get, what, found)
    return found


def _try_guesses(get: Get, what: str, found: FolderLinks) -> None:
    """Read what may be further pages, until one is; the smallest number first."""
    while found.guesses and not found.further:
        guess = found.next_guess()
        try:
            read = _read_page(get, str(guess.address), what)
        except RefusedError as refused:
            if guess.is_stated or refused.status >= 500 or refused.status in _PASSING:  # noqa: PLR2004
                raise
            read = None
        if read is None and guess.is_stated:
            raise ServiceError(f"{what}: its next page is no page of links")
        found.take_guess(guess, read)


def _read_page(get: Get, address: str, what: str) -> tuple[yarl.URL, Links] | None:
    """A page of links, and its address after redirects; None if it is none.

    Raises:
        TransientError: it is cut.
    """
    with get(address) as answer:
        if answer.content_type not in PAGE_TYPES:
            return None
        text = _text(answer)
        if not text.strip():
            return None  # a program that failed, most often
        links = Links(text)
        named = answer.headers
        is_sized = "Content-Length" in named or is_in_chunks(named)
        page = yarl.URL(answer.address, encoded=True)
    if not (is_sized or links.is_closed):
        raise TransientError(f"{what}: the page of links is cut")
    links.further += next_addresses(named.getlist("Link"))
    return page, links


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
