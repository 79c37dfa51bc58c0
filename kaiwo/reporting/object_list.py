"""What a listing found, for people and for programs.

{
  "version": 1, "ok": true, "exit_code": 0, "error": null, "files": 2, "bytes": 8,
  "items": [
    {"url": …, "key": …, "bytes": 3, "modified": "2026-01-31T12:00:00.000Z", "etag": …,
     "checksum": {"algorithm": …, "value": …}},
    …
  ]
}

``bytes`` is null where a server does not state a length; the total leaves it out. Of a web address,
the query is not shown: it may be a signature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kaiwo import checksums, redact, units
from kaiwo.net.web_urls import shown_key
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.planning.gather import Listing
from kaiwo.protocols import Opener

VERSION = 1


def lines(listing: Listing) -> Iterator[str]:
    """A line for each object: size, checksum, key; then the totals."""
    objects = [(want.opener, remote) for want, found in listing.found for remote in found]
    shown = {
        remote: f"{found.algorithm}:{found.value}" if (found := stated(remote)) else "-"
        for _, remote in objects
    }
    width = max(map(len, shown.values()), default=1)
    for opener, remote in objects:
        size = "?" if remote.unsized else units.size(remote.size)
        key = shown_key(opener.url(""), remote.key)
        yield f"{size:>10}  {shown[remote]:<{width}}  {units.printable(key)}"
    yield f"{units.count(len(objects), 'file')}, {units.size(sum(o.size for _, o in objects))}"


def as_json(listing: Listing) -> Iterator[str]:
    """The same as JSON, in lines."""
    found = [(want.opener, remote) for want, objects in listing.found for remote in objects]
    total = sum(remote.size for _, remote in found)
    ended = {"ok": True, "exit_code": 0, "error": None}
    numbers = {"files": len(found), "bytes": total}
    head = json.dumps({"version": VERSION, **ended, **numbers}, indent=2)
    yield head.removesuffix("\n}") + ","
    yield '  "items": ['
    for number, (opener, remote) in enumerate(found, 1):
        text = json.dumps(_item(opener, remote))
        yield f"    {text}{',' if number < len(found) else ''}"
    yield "  ]\n}"


def _item(opener: Opener, remote: RemoteObject) -> dict[str, Any]:
    checksum, modified_ns = stated(remote), remote.modified_ns
    return {
        "url": redact.text(opener.url(remote.key, remote.version)),
        "key": shown_key(opener.url(""), remote.key),
        "bytes": None if remote.unsized else remote.size,
        "modified": None if modified_ns is None else units.timestamp(modified_ns / 1e9),
        "etag": remote.etag,
        "checksum": checksum and {"algorithm": checksum.algorithm, "value": checksum.value},
    }


def stated(remote: RemoteObject) -> Checksum | None:
    """The checksum that the listing states; what is only made of an etag is none."""
    checksum = remote.checksum
    return None if checksum is None or checksums.is_guess(checksum) else checksum
