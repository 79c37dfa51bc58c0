"""Reads the objects of one bucket of Shelf.

GET  /bucket?prefix=…&after=…    {"objects": [{"key", "size", "etag", "sha256"}], "next": "…"}
HEAD /bucket/key                 the headers Content-Length, ETag and X-Sha256
GET  /bucket/key                 the bytes, or a range of them
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from kaiwo.net.client import Client
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.sources.answers import stated_size, strong_etag
from kaiwo.sources.http import HttpSource
from kaiwo.sources.paging import Page


class ShelfSource(HttpSource):
    """The objects of one bucket.

    Args:
        client: sends the requests.
        address: of the service.
        url: of the bucket, for messages.
        bucket: its name.
    """

    def __init__(self, client: Client, address: str, url: str, bucket: str) -> None:
        super().__init__(client, url, address)
        self._bucket = f"{address}/{quote(bucket, safe='')}"

    def address_of(self, key: str) -> str:
        """See ``HttpSource``."""
        return f"{self._bucket}/{quote(key, safe='')}"

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""

        def pages(after: str) -> Iterator[Page]:
            while True:
                query = urlencode({"prefix": prefix, "after": after})
                with self.translating("listing", prefix):
                    page = self.get_json(f"{self._bucket}?{query}")
                    after = page["next"]
                    files = (each for each in page["objects"] if not each["key"].endswith("/"))
                    found = [_described(each) for each in files]
                yield found, after
                if not after:
                    return

        return iter(self.list_pages(prefix, pages))

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self.translating("looking up", key):
            answer = self.head(self.address_of(key))
            return RemoteObject(
                key,
                stated_size(answer.header("Content-Length")),
                strong_etag(answer.header("ETag")),
                checksum=Checksum("sha256", str(answer.header("X-Sha256"))),
            )


def _described(entry: dict[str, Any]) -> RemoteObject:
    checksum = Checksum("sha256", entry["sha256"])
    return RemoteObject(entry["key"], entry["size"], entry["etag"], checksum=checksum)
