"""The buckets of the tests' stores, for the conformance suite."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kaiwo.tasks.base import Engine
from kaiwo.testing import Signing, TestBucket
from tests.support import certificates
from tests.support.stores import Store

WRONG = "wrong-wrong-wrong"


@cache
def _other_key() -> str:
    return certificates.rsa_key()


def _secret(store: Store) -> tuple[str, str, str, tuple[str, ...]]:
    """Of a store: the field of its secret, wrong and right content, and what is secret in both."""
    if store.type == "s3":
        right = str(store.fields["secret_key"])
        return "secret_key", WRONG, right, (WRONG, right)
    if store.type == "azure-blob":
        right, key = str(store.fields["connection_string"]), store.settings["account_key"]
        wrong = base64.b64encode(WRONG.encode()).decode()
        return "connection_string", right.replace(key, wrong), right, (wrong, key)
    if store.type == "gcs":
        right = Path(store.settings["service_account_file"]).read_text()
        account = json.loads(right)
        lines = (account["private_key"].splitlines()[1], _other_key().splitlines()[1])
        wrong = json.dumps(account | {"private_key": _other_key()})
        return "application_credentials", wrong, right, lines
    right = store.settings["token"]
    return "token", WRONG, right, (WRONG, right)


def bucket_of(
    store: Store, folder: Path, engine: Engine = "auto", *, name: str = "", signs: bool = True
) -> TestBucket:
    """A new bucket, or an empty one of that name.

    Args:
        store: where it is.
        folder: for the secret's file.
        engine: of the sources.
        name: if it is there already.
        signs: the store asks who reads.
    """
    name = name or store.new_bucket()
    missing = "no-such/repo" if store.type == "hf" else "no-such-bucket"
    server = urlsplit(store.settings["endpoint_url"]).netloc

    def through(address: str) -> Any:
        fields = {
            field: value.replace(server, address) if isinstance(value, str) else value
            for field, value in store.fields.items()
        }
        return replace(store, fields=fields).opener(name, engine)

    def put(objects: Mapping[str, bytes]) -> None:
        store.fill(name, objects)

    return TestBucket(
        opener=store.opener(name, engine),
        missing=store.opener(missing, engine),
        put=put,
        signing=_signing(store, folder, name, engine) if signs else None,
        server=server,
        through=through,
    )


def _signing(store: Store, folder: Path, bucket: str, engine: Engine) -> Signing:
    field, wrong, right, secrets = _secret(store)
    file = folder / "secret"
    file.write_text(wrong)
    fields = {**store.fields, field: None, f"{field}_file": str(file)}
    opener = replace(store, fields=fields).opener(bucket, engine)
    return Signing(opener, lambda: file.write_text(right), secrets)
