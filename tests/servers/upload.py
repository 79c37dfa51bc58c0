"""Fill a test server with objects through the provider's own SDK.

Each function creates the bucket or container if it is missing, uploads with some threads, and
then lists what is there: it returns only when every object arrived under its own name with its
own size, so a server that renames keys fails here and not in the middle of a test.
"""

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

_THREADS = 8


class UploadFailed(Exception):  # noqa: N818 - reads as what happened
    """The server keeps some objects under other names or sizes than they were given."""


def upload_s3(
    settings: Mapping[str, str],
    bucket: str,
    objects: Mapping[str, bytes],
    *,
    checksum: str | None = None,
) -> None:
    """Put objects into an S3 bucket, each with a single PutObject: its ETag is its MD5.

    `checksum` (CRC32, CRC32C, CRC64NVME, SHA1, SHA256) is sent with each object and kept by the
    server. rclone keeps it too, but then states it with every range as if it were the range's.
    """
    # A test imports only the SDK of its provider.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    client = boto3.client(
        "s3",
        endpoint_url=settings["endpoint_url"],
        aws_access_key_id=settings["access_key_id"],
        aws_secret_access_key=settings["secret_key"],
        region_name=settings["region"],
        verify=False,  # http: the system's certificates would be read for nothing
        config=Config(
            s3={"addressing_style": "path"},
            max_pool_connections=_THREADS,
            request_checksum_calculation="when_required",
        ),
    )
    with contextlib.closing(client):
        if bucket not in {known["Name"] for known in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=bucket)
        asked = {"Bucket": bucket} | ({"ChecksumAlgorithm": checksum} if checksum else {})
        _each(objects, lambda key, data: client.put_object(**asked, Key=key, Body=data))
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        found = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
    _check(bucket, objects, found)


def upload_gcs(settings: Mapping[str, str], bucket: str, objects: Mapping[str, bytes]) -> None:
    """Put objects into a Cloud Storage bucket, each with a multipart upload in one request."""
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
    from google.cloud.storage import Client  # noqa: PLC0415

    client = Client(
        project=settings["project"],
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": settings["endpoint_url"]},
    )
    with contextlib.closing(client):
        target = client.lookup_bucket(bucket, retry=None) or client.create_bucket(bucket)
        # No retries: the SDK would repeat for two minutes what a server cannot store.
        _each(objects, lambda key, data: target.blob(key).upload_from_string(data, retry=None))
        found = {blob.name: blob.size for blob in client.list_blobs(bucket)}
    _check(bucket, objects, found)


def upload_azure(settings: Mapping[str, str], container: str, objects: Mapping[str, bytes]) -> None:
    """Put objects into a blob container as block blobs, each with a single Put Blob."""
    from azure.storage.blob import ContainerClient  # noqa: PLC0415

    with ContainerClient.from_connection_string(settings["connection_string"], container) as client:
        if not client.exists():
            client.create_container()
        _each(objects, lambda key, data: client.upload_blob(key, data, overwrite=True))
        found = {blob.name: blob.size for blob in client.list_blobs()}
    _check(container, objects, found)


def _each(objects: Mapping[str, bytes], put: Callable[[str, bytes], object]) -> None:
    """Call `put` for every object from some threads; the first failure is raised."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(put, objects.keys(), objects.values()):
            pass


def _check(bucket: str, objects: Mapping[str, bytes], found: Mapping[str, int]) -> None:
    """Raise UploadFailed unless everything is found under its own name with its own size."""
    lost = {key: found.get(key) for key, data in objects.items() if found.get(key) != len(data)}
    if lost:
        others = sorted(found.keys() - objects.keys())
        message = f"{bucket}: listed size of {lost}; other names there: {others[:20]}"
        raise UploadFailed(message)
