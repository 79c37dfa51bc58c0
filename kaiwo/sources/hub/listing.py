"""The end of a listing of the Hub: the link to the next page, and the files that must be there.

Pages that lead on without an end bring nothing new, or more files than any repository has.

A page without a link to the next one looks like the last page. But the answer about a revision,
which is requested anyway, names the files of the repository (``siblings``; of very large
repositories, a part of them). A listing that lacks one of them is not complete.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kaiwo.errors import ServiceError
from kaiwo.net.links import next_addresses

#: Pages in a row that bring no new entry; the Hub's own are never empty.
_MOST_IDLE_PAGES = 8
#: Of 1,000 entries each at the Hub, which advises against 100,000 files.
_MOST_PAGES = 10_000
#: Of the entries of a tree; the unknown ones are those of git that are neither, such as submodules.
_KINDS = {"file", "directory", "unknown"}


class PageCount:
    """Refuses a listing whose pages have no end."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._pages = self._idle = 0

    def add(self, paths: Iterable[str], what: str) -> None:
        """Count a page.

        Args:
            paths: of all its entries.
            what: the operation and its object, for messages.

        Raises:
            ServiceError: the pages have no end.
        """
        before = len(self._seen)
        self._seen.update(paths)
        self._pages += 1
        self._idle = self._idle + 1 if len(self._seen) == before else 0
        if self._idle >= _MOST_IDLE_PAGES or self._pages > _MOST_PAGES:
            raise ServiceError(
                f"{what}: its pages have no end: after {self._pages} of them and "
                f"{len(self._seen)} entries the next one is named; check the endpoint"
            )


def next_page_query(links: Iterable[str]) -> str:
    """The query of the address of the next page; empty if no link leads there.

    Args:
        links: the values of the headers ``Link``.

    Raises:
        ValueError: the address of the next page has no query.
    """
    for address in next_addresses(links):
        # Some mirrors name the Hub itself in this address, so its host is not used.
        query: str = urlsplit(address).query
        if not query:
            raise ValueError("no query")
        return query
    return ""


def is_file(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of a tree is a file.

    Raises:
        ValueError: it is of a kind that is not known, and may be a file.
    """
    kind = entry["type"].lower()
    if kind not in _KINDS:
        raise ValueError(kind)
    return bool(kind == "file")


def named_files(information: Mapping[str, Any]) -> tuple[str, ...]:
    """The files that the answer about a revision names; none if it names none."""
    siblings = information.get("siblings")
    entries = siblings if isinstance(siblings, list) else []
    names = (entry.get("rfilename") for entry in entries if isinstance(entry, dict))
    return tuple(name for name in names if isinstance(name, str))


def missing_file(prefix: str, listed: Collection[str], named: Iterable[str]) -> str | None:
    """One of the named files below a prefix that a listing lacks; None if it lacks none."""
    return next((key for key in named if key.startswith(prefix) and key not in listed), None)
