"""What the task says is sent, even when the environment says otherwise."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaiwo.errors import (
    CredentialsError,
    KaiwoError,
)
from kaiwo.objects import RemoteObject
from kaiwo.tasks.base import Engine
from tests.support.azure import signature
from tests.support.command import Kaiwo, tree
from tests.support.engines import (
    ALL,
    BIG,
    CANARY,
    CLOSED,
    NOWHERE,
    OBJECTS,
    OF_PROVIDERS,
    QUICK,
    blob_endpoint,
    chosen,
    each_engine,
    everything,
    opened,
)
from tests.support.recorded import Asked, recorded
from tests.support.stores import Store

pytestmark = pytest.mark.usefixtures("loopback_only")


#: Of the clients of all three, by their own prefix.
CLIENT = {
    "ALLOW_HTTP": "false",
    "ALLOW_INVALID_CERTIFICATES": "true",
    "CONNECT_TIMEOUT": CANARY,
    "DEFAULT_CONTENT_TYPE": CANARY,
    "HTTP2_ONLY": "true",
    "PROXY_URL": CLOSED,
    "TIMEOUT": "0.000001 seconds",
    "USER_AGENT": CANARY,
}

HOSTILE: dict[str, dict[str, str]] = {
    "s3": {
        "AWS_ACCESS_KEY_ID": CANARY,
        "AWS_BUCKET": "other",
        "AWS_BUCKET_NAME": "other",
        "AWS_CHECKSUM_ALGORITHM": "sha256",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{CLOSED}/x",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x",
        "AWS_DEFAULT_REGION": "eu-nowhere-1",
        "AWS_ENDPOINT": CLOSED,
        "AWS_ENDPOINT_URL": CLOSED,
        "AWS_ENDPOINT_URL_S3": CLOSED,
        "AWS_IMDSV1_FALLBACK": "true",
        "AWS_METADATA_ENDPOINT": CLOSED,
        "AWS_PROFILE": "missing",
        "AWS_REGION": "eu-nowhere-1",
        "AWS_REQUEST_PAYER": "true",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/other",
        "AWS_S3_EXPRESS": "true",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_SESSION_TOKEN": CANARY,
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_TOKEN": CANARY,
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/missing",
    },
    "gcs": {
        "GOOGLE_APPLICATION_CREDENTIALS": "/missing",
        "GOOGLE_BASE_URL": CLOSED,
        "GOOGLE_BEARER_TOKEN": CANARY,
        "GOOGLE_BUCKET": "other",
        "GOOGLE_BUCKET_NAME": "other",
        "GOOGLE_SKIP_SIGNATURE": "true",
        "STORAGE_EMULATOR_HOST": CLOSED,
    },
    "azure": {
        "AZURE_CLIENT_ID": CANARY,
        "AZURE_CLIENT_SECRET": CANARY,
        "AZURE_CONTAINER_NAME": "other",
        "AZURE_FEDERATED_TOKEN_FILE": "/missing",
        "AZURE_MSI_ENDPOINT": CLOSED,
        "AZURE_SKIP_SIGNATURE": "true",
        "AZURE_STORAGE_ACCOUNT_KEY": CANARY,
        "AZURE_STORAGE_ACCOUNT_NAME": "other",
        "AZURE_STORAGE_CONNECTION_STRING": CANARY,
        "AZURE_STORAGE_ENDPOINT": CLOSED,
        "AZURE_STORAGE_KEY": CANARY,
        "AZURE_STORAGE_SAS_KEY": f"sig={CANARY}",
        "AZURE_STORAGE_SAS_TOKEN": f"sig={CANARY}",
        "AZURE_STORAGE_TOKEN": CANARY,
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURE_TENANT_ID": CANARY,
        "AZURE_USE_AZURE_CLI": "true",
        "AZURE_USE_FABRIC_ENDPOINT": "true",
    },
}


def hostile(name: str) -> Sequence[Mapping[str, str]]:
    """Environments: each variable alone, and all of them."""
    client = {f"{OF_PROVIDERS[name]}_{variable}": value for variable, value in CLIENT.items()}
    variables = HOSTILE[name] | client
    return [*({each: variables[each]} for each in sorted(variables)), variables]


@pytest.fixture(scope="module", params=["s3", "gcs", "azure"])
def hostile_store(request: pytest.FixtureRequest) -> Iterator[tuple[str, Store, str, list[Asked]]]:
    """Each store, one that looks at signatures; its bucket, and what it is asked."""
    name = "s3_signed" if request.param == "s3" else request.param
    real: Store = request.getfixturevalue(name)
    bucket = real.new_bucket(OBJECTS)
    if real.type == "gcs":
        fields = {**real.fields, "application_credentials_file": None, "token": "right"}
        real = replace(real, fields=fields)
    with recorded(real) as (store, asked):
        yield request.param, store, bucket, asked


def right(store: Store, asked: Asked) -> bool:
    """Whether a request carries the task's own credentials, and nothing of the environment's."""
    said = asked.headers.get("authorization", "")
    shown = asked.target + json.dumps(dict(asked.headers))
    if CANARY in shown or "x-amz-request-payer" in asked.headers or "other" in asked.target:
        return False
    if store.type == "s3":
        return f"Credential={store.settings['access_key_id']}/" in said and "us-east-1/s3" in said
    if store.type == "gcs":
        return said == "Bearer right"
    return said.startswith(f"SharedKey {store.settings['account_name']}:")


def test_what_the_task_says_is_what_obstore_sends_in_a_hostile_environment(
    hostile_store: tuple[str, Store, str, list[Asked]],
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:
    name, store, bucket, asked = hostile_store
    for environment in hostile(name):
        with monkeypatch.context() as patched, subtests.test(environment=sorted(environment)):
            for variable, value in environment.items():
                patched.setenv(variable, value)
            asked.clear()
            with opened(store, bucket, "obstore") as source:
                assert everything(source) == OBJECTS
            assert len(asked) > 3 * len(OBJECTS)
            assert [each for each in asked if not right(store, each)] == []


def test_anonymous_sends_nothing_in_a_hostile_environment(
    hostile_store: tuple[str, Store, str, list[Asked]],
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:
    name, store, bucket, asked = hostile_store
    fields: dict[str, Any] = dict.fromkeys(store.fields) | {"anonymous": True}
    fields["endpoint_url"] = store.fields.get("endpoint_url")
    if store.type == "azure-blob":
        fields["endpoint_url"] = blob_endpoint(store)
    else:
        fields |= {key: store.fields[key] for key in ("region", "project") if key in store.fields}
    for environment in hostile(name):
        with monkeypatch.context() as patched, subtests.test(environment=sorted(environment)):
            for variable, value in environment.items():
                patched.setenv(variable, value)
            asked.clear()
            with opened(store, bucket, "obstore", **fields) as source:
                # A private bucket: what matters is what is sent.
                with contextlib.suppress(CredentialsError):
                    source.read(RemoteObject("k", 4), 0, 4)
                with contextlib.suppress(CredentialsError):
                    source.read(RemoteObject("big", len(BIG)), 0, len(BIG))
                if store.type == "s3":  # the others list through fsspec
                    with contextlib.suppress(KaiwoError):
                        list(source.list(""))
            assert len(asked) >= 2
            for each in asked:
                assert "authorization" not in each.headers
                assert "x-amz-security-token" not in each.headers
                assert "sig=" not in each.target
                assert CANARY not in json.dumps(dict(each.headers))


@pytest.mark.parametrize(
    "variable",
    [
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "SERVICE_ACCOUNT",
    ],
)
def test_a_stray_service_account_that_obstore_would_read_is_named(
    kaiwo: Kaiwo, gcs: Store, tmp_path: Path, variable: str
) -> None:
    task = gcs.task(gcs.new_bucket({"k": b"data"}), ALL)
    done = kaiwo({"download_items": [task]}, *QUICK, env=NOWHERE | {variable: CANARY})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": b"data"}
    assert CANARY not in done.stderr
    # Either obstore does not mind, or the line says what is in its way.
    assert [line for line in chosen(done) if variable not in line] == []


def test_a_stray_service_account_that_is_right_is_not_used(
    gcs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = gcs.new_bucket(OBJECTS)
    fields = {"application_credentials_file": None, "token": "right"}
    for variable in ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(variable, gcs.settings["service_account_file"])
    with recorded(gcs) as (store, asked), opened(store, bucket, "obstore", **fields) as source:
        assert everything(source) == OBJECTS
    assert {each.headers.get("authorization") for each in asked} == {"Bearer right"}


@each_engine
def test_a_signature_of_azure_is_sent_as_it_is(azure: Store, engine: Engine) -> None:
    container = azure.new_bucket(OBJECTS)
    with recorded(azure) as (store, asked):
        fields = {"connection_string": None, "endpoint_url": blob_endpoint(store)}
        fields["sas_token"] = signature(azure, container)
        with opened(store, container, engine, **fields) as source:
            assert everything(source) == OBJECTS
    assert all("sig=" in each.target and "authorization" not in each.headers for each in asked)


@each_engine
def test_the_session_token_and_who_pays_are_sent_with_every_request(
    s3: Store, engine: Engine
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    with recorded(s3) as (store, asked):
        fields = {"session_token": " a-token\n", "requester_pays": True}
        with opened(store, bucket, engine, **fields) as source:
            assert everything(source) == OBJECTS
    assert asked
    assert {each.headers.get("x-amz-security-token") for each in asked} == {"a-token"}
    assert {each.headers.get("x-amz-request-payer") for each in asked} == {"requester"}
