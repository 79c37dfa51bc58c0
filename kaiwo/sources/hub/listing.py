"""The end of a listing of the Hub: the link to the next page, and the files that must be there.

A page without a link to the next one looks like the last page. But the answer about a revision,
which is requested anyway, names the files of the repository (``siblings``; of very large
repositories, a part of them). A listing that lacks one of them is not complete.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

#: An address and its parameters (RFC 8288, 3); their values may be quoted, and hold commas then.
_LINK = re.compile(r"""<([^>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^,;"'\s]+))*)""")
_RELATION = re.compile(r"""(?:^|;)\s*rel\s*=\s*(?:"([^"]*)"|'([^']*)'|([^,;\s]+))""", re.IGNORECASE)


def next_page_query(links: Iterable[str]) -> str:
    """The query of the address of the next page; empty if no link leads there.

    Args:
        links: the values of the headers ``Link``.

    Raises:
        ValueError: the address of the next page has no query.
    """
    for address, parameters in (each for value in links for each in _LINK.findall(value)):
        relation = _RELATION.search(parameters)
        if relation is not None and "next" in "".join(relation.groups("")).lower().split():
            # Some mirrors name the Hub itself in this address, so its host is not used.
            query: str = urlsplit(address).query
            if not query:
                raise ValueError("no query")
            return query
    return ""


def named_files(information: Mapping[str, Any]) -> tuple[str, ...]:
    """The files that the answer about a revision names; none if it names none."""
    siblings = information.get("siblings")
    entries = siblings if isinstance(siblings, list) else []
    names = (entry.get("rfilename") for entry in entries if isinstance(entry, dict))
    return tuple(name for name in names if isinstance(name, str))


def missing_file(prefix: str, listed: Collection[str], named: Iterable[str]) -> str | None:
    """One of the named files below a prefix that a listing lacks; None if it lacks none."""
    return next((key for key in named if key.startswith(prefix) and key not in listed), None)
