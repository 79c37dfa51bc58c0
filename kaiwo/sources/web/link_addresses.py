"""Addresses of links: what is relative, what is below a folder, what is one path.

A scheme that no web address has is a part of a name: ``a:b.bin`` is a file, though browsers read
it as something else. So is a known one (``mailto:``) if the page shows the whole as a name.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

import yarl

from kaiwo.net.redirects import Origin
from kaiwo.net.web_urls import plain_name
from kaiwo.sources.web.further import is_named

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/?/?)")
#: Schemes of addresses that need no slashes, and are no files of a web server.
_NO_FILES = re.compile(
    "about|acct|blob|bitcoin|callto|cid|data|facetime|feed|geo|https?|intent|irc|javascript|"
    "magnet|mailto|maps|market|mid|news|nntp|sips?|skype|sms|ssh|tel|urn|view-source|webcal|"
    "whatsapp|xmpp",
    re.IGNORECASE,
)


def as_relative(address: str, words: str) -> str | None:
    """The address without what only looks like a scheme; None if it is no address of a web server.

    Args:
        address: of a link, as its page states it.
        words: that the page shows for it.
    """
    scheme = _SCHEME.match(address)
    if scheme is None or scheme[2] == "//":
        return address
    if _NO_FILES.fullmatch(scheme[1]) and not is_named(words, address):
        return None
    return f"./{address}"


def below(folder: yarl.URL, link: yarl.URL) -> str | None:
    """The name of a link, relative to a folder; None if it is not below the folder."""
    if not canonical(link.raw_path).startswith(canonical(folder.raw_path)):
        return None
    return plain_name(link.raw_path.split("/", folder.raw_path.count("/"))[-1])


def canonical(path: str) -> str:
    """A path in one of its spellings: ``/~u``, ``/%7eu`` and ``/~U`` are one.

    Servers on Windows state links in another case than was asked for.
    """
    segments = (quote(unquote_to_bytes(segment), safe="") for segment in path.split("/"))
    return "/".join(segments).lower()


def origin_of(address: yarl.URL) -> Origin:
    """The origin of an address, as yarl reads it."""
    is_default = address.port in (80, 443) and address.is_default_port()
    return Origin(address.scheme, address.host, None if is_default else address.port)
