"""AWS's adaptive client, which the SDKs call the CRT client: it decides on its connections itself.

python awscrt_get.py copy URL BUCKET TARGET ENDING
"""

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from awscrt.auth import AwsCredentialsProvider
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.io import ClientBootstrap, DefaultHostResolver, EventLoopGroup
from awscrt.s3 import S3Client, S3RequestTlsMode, S3RequestType

#: Objects at once, as many as boto3's transfer manager for this client has.
AT_ONCE = 128
_NAMES = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Bucket:
    """A bucket, and the client that reads it."""

    def __init__(self, url: str, name: str) -> None:
        group = EventLoopGroup()
        self.name = name
        self.host = urlsplit(url).netloc
        tls = url.startswith("https:")
        self.client = S3Client(
            bootstrap=ClientBootstrap(group, DefaultHostResolver(group)),
            region=os.environ["AWS_REGION"],
            tls_mode=S3RequestTlsMode.ENABLED if tls else S3RequestTlsMode.DISABLED,
            credential_provider=AwsCredentialsProvider.new_static(
                os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
            ),
        )

    def names(self) -> Iterator[str]:
        """All keys, page after page."""
        query = "list-type=2"
        while query:
            body = bytearray()
            self._request(
                f"/{self.name}?{query}",
                type=S3RequestType.DEFAULT,
                operation_name="ListObjectsV2",
                on_body=lambda chunk, to=body, **_: to.extend(chunk),
            ).result()
            page = ET.fromstring(bytes(body))
            yield from (key.text or "" for key in page.iterfind(f"{_NAMES}Contents/{_NAMES}Key"))
            token = page.findtext(f"{_NAMES}NextContinuationToken")
            query = f"list-type=2&continuation-token={quote(token, '')}" if token else ""

    def get(self, key: str, path: str) -> "Future[None]":
        """Begin to fetch an object into a file."""
        return self._request(
            f"/{self.name}/{quote(key)}", type=S3RequestType.GET_OBJECT, recv_filepath=path
        )

    def _request(self, path: str, **how: Any) -> "Future[None]":
        request = HttpRequest("GET", path, HttpHeaders([("host", self.host)]))
        future: Future[None] = self.client.make_request(request=request, **how).finished_future
        return future


def main(_verb: str, url: str, name: str, target: str, _ending: str) -> None:
    """Copy all of a bucket."""
    bucket = Bucket(url, name)
    free = threading.Semaphore(AT_ONCE)
    futures = []
    for key in bucket.names():
        path = os.path.join(target, key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        free.acquire()
        futures.append(bucket.get(key, path))
        futures[-1].add_done_callback(lambda _: free.release())
    for future in futures:
        future.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
