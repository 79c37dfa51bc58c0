"""Variables as charts leave them: empty, or with a line break at their end."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.errors import ConfigError, CredentialsError
from kaiwo.tasks.base import Engine
from tests.support.command import Kaiwo, tree
from tests.support.engines import QUICK
from tests.support.stores import Store

OBJECTS = {"k": b"data", "d/b": b"more"}
#: Those that each SDK reads, and that have another meaning when they are empty, in some version.
NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CA_BUNDLE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_DEFAULTS_MODE",
    "AWS_METADATA_SERVICE_TIMEOUT",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_MAX_ATTEMPTS",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GCE_METADATA_HOST",
    "STORAGE_EMULATOR_HOST",
    "GOOGLE_SERVICE_ACCOUNT",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_STORAGE_ANON",
    "HF_TOKEN",
    "HF_HOME",
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HF_TOKEN_PATH",
    "HF_HUB_OFFLINE",
    "HF_HUB_DISABLE_XET",
    "HF_HUB_ETAG_TIMEOUT",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_XET_HIGH_PERFORMANCE",
    "HF_OIDC_RESOURCE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "XDG_CACHE_HOME",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "KAIWO_MAX_WORKERS",
    "KAIWO_LOG_LEVEL",
    "KAIWO_LOG_FORMAT",
    "KAIWO_ENGINE",
    "KAIWO_DEADLINE",
    "KAIWO_REPORT",
    "KAIWO_DOWNLOAD_ROOT",
    "KAIWO_STATE_DIR",
    "KAIWO_VERIFY",
    "KAIWO_FSYNC",
    "KAIWO_TERMINATION_LOG",
)
EMPTY = dict.fromkeys(NAMES, "")


@pytest.mark.parametrize("of", ["s3", "gcs", "azure", "hub"])
def test_empty_variables_are_none_for_every_sdk(
    kaiwo: Kaiwo, of: str, engine: Engine, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store: Store = request.getfixturevalue(of)
    name = "acme/empty-variables" if of == "hub" else store.new_bucket()
    store.fill(name, OBJECTS)
    more = {"target_path": "."} if of == "hub" else {}
    task = store.task(name, [{"folder": "", "target_path": "."}], **more)
    done = kaiwo({"download_items": [task]}, "--engine", engine, *QUICK, env=EMPTY)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == OBJECTS


NO_KEYS: dict[str, Any] = {"access_key_id": None, "secret_key": None, "region": None}
KEYS = {"AWS_ACCESS_KEY_ID": "access_key_id", "AWS_SECRET_ACCESS_KEY": "secret_key"}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_secrets_of_the_environment_end_before_their_line_break(
    kaiwo: Kaiwo, s3_signed: Store, engine: Engine, end: str, tmp_path: Path
) -> None:
    bucket = s3_signed.new_bucket(OBJECTS)
    task = s3_signed.task(bucket, [{"folder": "", "target_path": "."}], **NO_KEYS)
    env = {name: s3_signed.settings[field] + end for name, field in KEYS.items()}
    env["AWS_DEFAULT_REGION"] = s3_signed.settings["region"] + end
    env["AWS_PROFILE"] = ""
    done = kaiwo({"download_items": [task]}, "--engine", engine, *QUICK, env=env)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == OBJECTS


@pytest.mark.usefixtures("loopback_only")
def test_a_call_in_a_program_does_not_change_its_environment(
    s3: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    monkeypatch.setenv("AWS_PROFILE", "")
    fields = dict(s3.fields)
    assert kaiwo.fetch(f"s3://{bucket}/k", tmp_path / "k", **fields).read_bytes() == b"data"
    assert os.environ["AWS_PROFILE"] == ""


MISSING = "/nowhere/of-the-chart"
FILES: list[tuple[str, str, dict[str, Any]]] = [
    ("s3", "AWS_WEB_IDENTITY_TOKEN_FILE", NO_KEYS),
    ("s3", "AWS_CA_BUNDLE", {}),
    ("s3", "REQUESTS_CA_BUNDLE", {}),
    (
        "gcs",
        "GOOGLE_APPLICATION_CREDENTIALS",
        {"application_credentials_file": None, "endpoint_url": None},
    ),
    (
        "azure",
        "AZURE_FEDERATED_TOKEN_FILE",
        # Without the client's ID, no token that the task does not name goes to such an endpoint.
        {
            "connection_string": None,
            "endpoint_url": "https://127.0.0.1:1/account",
            "client_id": "client",
        },
    ),
]


@pytest.mark.usefixtures("loopback_only")
@pytest.mark.parametrize(("of", "name", "fields"), FILES, ids=[each[1] for each in FILES])
def test_a_missing_file_is_named_with_its_variable(
    of: str,
    name: str,
    fields: dict[str, Any],
    engine: Engine,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store: Store = request.getfixturevalue(of)
    bucket = store.new_bucket({"k": b"data"})
    monkeypatch.setenv(name, MISSING)
    if name.startswith("AWS_WEB"):
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
    if name.startswith("AZURE"):
        monkeypatch.setenv("AZURE_CLIENT_ID", "client")
        monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    store = replace(store, fields={**store.fields, **fields})
    with pytest.raises((ConfigError, CredentialsError)) as caught:
        list(store.opener(bucket, engine).open().list(""))
    assert f"{name} names {MISSING}, which does not exist" in caught.value.message


@pytest.mark.parametrize("of", ["s3", "gcs", "azure"])
def test_so_is_a_file_of_certificates_that_obstore_reads(
    kaiwo: Kaiwo, of: str, request: pytest.FixtureRequest
) -> None:
    """It is read once in a process, so this needs one that has read none yet."""
    store: Store = request.getfixturevalue(of)
    task = store.task("bucket", [{"folder": "", "target_path": "."}])
    env = {"SSL_CERT_FILE": MISSING}
    done = kaiwo({"download_items": [task]}, "--engine", "obstore", *QUICK, env=env)
    assert done.code == 2
    assert f"SSL_CERT_FILE names {MISSING}, which does not exist" in done.stderr
