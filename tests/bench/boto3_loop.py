"""The program that everybody writes first: list, and give every key to boto3's transfer manager.

python boto3_loop.py copy|list URL BUCKET TARGET ENDING
"""

import os
import sys
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager


class Known:
    """Tells the manager what the listing said, so that it does not ask for every object again."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.entry = entry

    def on_queued(self, future: Any, **_: Any) -> None:
        """The manager's call, before it begins."""
        future.meta.provide_transfer_size(self.entry["Size"])
        if "ETag" in self.entry:  # some services list none
            future.meta.provide_object_etag(self.entry["ETag"])


def main(verb: str, url: str, bucket: str, target: str, ending: str) -> None:
    """Copy all of a bucket, or print the keys that end so."""
    client = boto3.client("s3", endpoint_url=url)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    entries = (entry for page in pages for entry in page.get("Contents", ()))
    if verb == "list":
        print("\n".join(entry["Key"] for entry in entries if entry["Key"].endswith(ending)))
        return
    listed = [entry for entry in entries if not entry["Key"].endswith("/")]
    # Its default for one object; for many, as many as rclone.
    config = TransferConfig(max_concurrency=32) if len(listed) > 1 else TransferConfig()
    with create_transfer_manager(client, config) as manager:
        futures = []
        for entry in listed:
            path = os.path.join(target, entry["Key"])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            known = [Known(entry)]
            futures.append(manager.download(bucket, entry["Key"], path, subscribers=known))
        for future in futures:
            future.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
