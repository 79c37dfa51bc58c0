"""kaiwo's filesystem as fsspec finds it, also where the package was installed without it."""

from __future__ import annotations

import tomllib

import fsspec

from tests.servers import ROOT
from tests.support.stores import Store

#: What fsspec calls the protocols, and what their filesystems call what the tests' stores have.
PROTOCOLS = {"s3": "s3", "gcs": "gs", "azure-blob": "az", "hf": "hf"}
NAMES = {
    "s3": {
        "access_key_id": "key",
        "secret_key": "secret",
        "endpoint_url": "endpoint_url",
    },
    "gcs": {
        "endpoint_url": "endpoint_url",
        "application_credentials_file": "token",
        "project": "project",
    },
    "azure-blob": {"connection_string": "connection_string"},
    "hf": {"endpoint_url": "endpoint", "token": "token"},
}


def register() -> None:
    """Register the entry points of the group ``fsspec.specs``, as fsspec does at its import."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, value in project["entry-points"]["fsspec.specs"].items():
        fsspec.register_implementation(name, value.replace(":", "."), clobber=True)


def options(store: Store) -> dict[str, object]:
    """The options of a store's filesystem, by fsspec's names."""
    names = NAMES[store.type]
    given = {names.get(name): value for name, value in store.fields.items() if value is not None}
    return {name: value for name, value in given.items() if name is not None}
