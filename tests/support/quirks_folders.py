"""Markers of folders: empty objects whose content type or metadata say that they are folders."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.stores import Store


def put_object(
    store: Store,
    bucket: str,
    key: str,
    content_type: str,
    metadata: Mapping[str, str] | None = None,
    data: bytes = b"",
) -> None:
    """Store an object with a content type and metadata, through the provider's SDK."""
    put = {"s3": _put_s3, "gcs": _put_gcs, "azure-blob": _put_azure}[store.type]
    put(store.settings, bucket, key, content_type, dict(metadata or {}), data)


def _put_s3(
    settings: Mapping[str, str],
    bucket: str,
    key: str,
    content_type: str,
    metadata: dict[str, str],
    data: bytes,
) -> None:
    import boto3  # noqa: PLC0415 - a test imports only the SDK of its provider

    client = boto3.client(
        "s3",
        endpoint_url=settings["endpoint_url"],
        aws_access_key_id=settings["access_key_id"],
        aws_secret_access_key=settings["secret_key"],
        region_name=settings["region"],
    )
    given = {"ContentType": content_type, "Metadata": metadata, "Body": data}
    client.put_object(Bucket=bucket, Key=key, **given)


def _put_gcs(
    settings: Mapping[str, str],
    bucket: str,
    key: str,
    content_type: str,
    metadata: dict[str, str],
    data: bytes,
) -> None:
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
    from google.cloud.storage import Client  # noqa: PLC0415

    client = Client(
        project=settings["project"],
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": settings["endpoint_url"]},
    )
    blob = client.bucket(bucket).blob(key)
    blob.metadata = metadata or None
    blob.upload_from_string(data, content_type=content_type, retry=None)


def _put_azure(
    settings: Mapping[str, str],
    bucket: str,
    key: str,
    content_type: str,
    metadata: dict[str, str],
    data: bytes,
) -> None:
    from azure.storage.blob import ContainerClient, ContentSettings  # noqa: PLC0415

    given = settings["connection_string"]
    with ContainerClient.from_connection_string(given, bucket) as client:
        client.upload_blob(
            key,
            data,
            overwrite=True,
            metadata=metadata or None,
            content_settings=ContentSettings(content_type=content_type),
        )
