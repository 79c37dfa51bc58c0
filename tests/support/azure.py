"""Signatures (SAS) that an account of Azure Blob Storage gives out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from azure.storage.blob import (
    BlobSasPermissions,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from tests.support.stores import Store


def signature(store: Store, container: str, *, blob: str | None = None) -> str:
    """To read one blob, or to read and list a container, for an hour."""
    until = datetime.now(UTC) + timedelta(hours=1)
    account, key = store.settings["account_name"], store.settings["account_key"]
    if blob is not None:
        may = BlobSasPermissions(read=True)
        return generate_blob_sas(
            account, container, blob, account_key=key, permission=may, expiry=until
        )
    both = ContainerSasPermissions(read=True, list=True)
    return generate_container_sas(
        account, container, account_key=key, permission=both, expiry=until
    )
