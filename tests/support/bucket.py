"""A bucket whose objects change, and what each of them holds and held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config

from tests.support.model import Version, content
from tests.support.stores import Store

#: The length of a part, in uploads in parts: the least that S3 takes.
PART = 5 << 20


def client_of(store: Store) -> Any:
    """The SDK's client of an S3 server, with the server's own keys."""
    return boto3.client(
        "s3",
        endpoint_url=store.settings["endpoint_url"],
        aws_access_key_id=store.settings["access_key_id"],
        aws_secret_access_key=store.settings["secret_key"],
        region_name=store.settings["region"],
        config=Config(request_checksum_calculation="when_required"),
    )


def upload_in_parts(
    store: Store, bucket: str, key: str, data: bytes, lengths: Sequence[int]
) -> None:
    """Store an object in parts of these lengths, as stream writers do."""
    client, at = client_of(store), 0
    place: dict[str, Any] = {"Bucket": bucket, "Key": key}
    place["UploadId"] = client.create_multipart_upload(**place)["UploadId"]
    parts = []
    for number, length in enumerate(lengths, 1):
        body = data[at : at + length]
        etag = client.upload_part(**place, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
        at += length
    client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})


class Bucket:
    """A new bucket of an S3 store.

    Attributes:
        name: of the bucket.
        objects: key -> what the object holds now.
        versions: key -> all that it ever held, the oldest first.
    """

    def __init__(self, store: Store) -> None:
        self.name = store.new_bucket()
        self.objects: dict[str, Version] = {}
        self.versions: dict[str, list[Version]] = {}
        self._contents = 0
        self._client = client_of(store)

    def begin(self, sizes: Mapping[str, int]) -> None:
        """Have objects of these sizes, and no others, without any history.

        One that has its size already stays: to store it takes longer than a run.
        """
        for key in self.objects.keys() - sizes.keys():
            self.delete(key)
        for key, size in sizes.items():
            known = self.objects.get(key)
            if known is None or len(known.data) != size or "-" in known.etag:
                self.put(key, size)
        self.versions = {key: [version] for key, version in self.objects.items()}

    def put(self, key: str, size: int, *, in_parts: bool = False) -> None:
        """Store a new version of an object, of this size; an empty one has no parts."""
        self._contents += 1
        data = content(self._contents, size)
        upload = self._upload_in_parts if in_parts and size else self._upload
        self.objects[key] = Version(data, upload(key, data).strip('"'))
        self.versions.setdefault(key, []).append(self.objects[key])

    def delete(self, key: str) -> None:
        """The object is gone, if it was there."""
        self._client.delete_object(Bucket=self.name, Key=key)
        self.objects.pop(key, None)

    def _upload(self, key: str, data: bytes) -> str:
        """Store an object whose etag is its md5; returns the etag."""
        etag: str = self._client.put_object(Bucket=self.name, Key=key, Body=data)["ETag"]
        return etag

    def _upload_in_parts(self, key: str, data: bytes) -> str:
        """Store an object of which no listing tells a checksum; returns its etag."""
        place = {"Bucket": self.name, "Key": key}
        place["UploadId"] = self._client.create_multipart_upload(**place)["UploadId"]
        parts = []
        for number, start in enumerate(range(0, len(data), PART), 1):
            body = data[start : start + PART]
            part = self._client.upload_part(**place, PartNumber=number, Body=body)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        whole = {"Parts": parts}
        etag: str = self._client.complete_multipart_upload(**place, MultipartUpload=whole)["ETag"]
        return etag


def keys(count: int) -> list[str]:
    """Names of that number of objects, in a few folders."""
    return [f"folder{number % 7}/file{number:05}" for number in range(count)]
