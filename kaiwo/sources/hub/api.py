"""The API of a Hub: what it states of a repository, a tree and single files.

A named file is looked up by ``paths-info``; where a mirror has none, by the tree of its folder,
which is kept. Where a mirror has neither, the API does not know.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from kaiwo.net.statuses import GARBLED, RefusedError
from kaiwo.sources.hub.endpoint import Endpoint
from kaiwo.sources.hub.listing import is_file, next_page_query
from kaiwo.sources.hub.repository import Repository

T = TypeVar("T")
#: Refusals that pass, or that concern more than this request: too many requests, a time-out.
_PASSING = {408, 425, 429}
#: A folder of more pages is not read for the sake of one file.
_MOST_PAGES = 10


class Api:
    """Asks the API about one repository. Called from many threads at once.

    Args:
        endpoint: sends the requests.
        repository: that the files belong to.
    """

    def __init__(self, endpoint: Endpoint, repository: Repository) -> None:
        self._endpoint = endpoint
        self._address = repository.api
        #: Ways to look a file up that this Hub may have.
        self._ways = ["paths-info", "tree"]
        self._folders: dict[str, dict[str, dict[str, Any]]] = {}

    def call(self, address: str, expected: type[T], form: bytes | None = None) -> tuple[T, str]:
        """The answer of the API, of that type, and the query of the next page.

        Raises:
            TypeError: the answer has another type.
            ValueError: it is not JSON, or the address of the next page has no query.
        """
        headers = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        method = "GET" if form is None else "POST"
        with self._endpoint.request(method, address, headers, form) as answer:
            query = next_page_query(answer.headers.getlist("Link"))
            content = json.loads(answer.body())
        if not isinstance(content, expected):
            raise TypeError
        return content, query

    def revision(self, revision: str) -> dict[str, Any]:
        """What the Hub states of a revision."""
        return self.call(f"{self._address}/revision/{quote(revision, safe='')}", dict)[0]

    def page(self, commit: str, folder: str, query: str) -> tuple[list[dict[str, Any]], str]:
        """The entries of a page of a tree, and the query of the next page.

        Args:
            commit: that the tree belongs to.
            folder: without slashes at its ends; empty for the whole repository.
            query: of the page.
        """
        below = f"/{quote(folder)}" if folder else ""
        return self.call(f"{self._address}/tree/{commit}{below}?{query}", list)

    def entry(self, commit: str, key: str) -> dict[str, Any] | None:
        """What the API states of a file; None if it does not know.

        Raises:
            RefusedError: a failure that passes.
        """
        ask = {"paths-info": self._from_paths_info, "tree": self._from_tree}
        for way in tuple(self._ways):
            try:
                return ask[way](commit, key)
            except RefusedError as refused:
                passes = refused.status in _PASSING or refused.status >= 500  # noqa: PLR2004
                if passes and refused.status != 501:  # noqa: PLR2004 - not implemented
                    raise
                if way in self._ways:
                    self._ways.remove(way)
            except GARBLED:
                continue  # a page in place of the API
        return None

    def _from_paths_info(self, commit: str, key: str) -> dict[str, Any] | None:
        form = urlencode({"paths": key, "expand": "false"}).encode()
        return _file(self.call(f"{self._address}/paths-info/{commit}", list, form)[0], key)

    def _from_tree(self, commit: str, key: str) -> dict[str, Any] | None:
        folder, query = key.rpartition("/")[0], "recursive=false&expand=false"
        if folder not in self._folders:
            entries: dict[str, dict[str, Any]] = {}
            for _ in range(_MOST_PAGES):
                page, query = self.page(commit, folder, query)
                entries.update({each["path"]: each for each in page})
                if not query:
                    break
            self._folders[folder] = entries
        return _file(self._folders[folder].values(), key)


def _file(entries: Any, key: str) -> dict[str, Any] | None:
    """The entry of a file, or None."""
    found = (each for each in entries if each["path"] == key and is_file(each))
    return next(found, None)
