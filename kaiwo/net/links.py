"""The header ``Link`` (RFC 8288): the address of the next page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

#: An address and its parameters (RFC 8288, 3); their values may be quoted, and hold commas then.
_LINK = re.compile(r"""<([^>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^,;"'\s]+))*)""")
_RELATION = re.compile(r"""(?:^|;)\s*rel\s*=\s*(?:"([^"]*)"|'([^']*)'|([^,;\s]+))""", re.IGNORECASE)


def next_addresses(links: Iterable[str]) -> Iterator[str]:
    """The addresses of the next page, as they are stated.

    Args:
        links: the values of the headers ``Link``.
    """
    for address, parameters in (each for value in links for each in _LINK.findall(value)):
        relation = _RELATION.search(parameters)
        if relation is not None and "next" in "".join(relation.groups("")).lower().split():
            yield address
