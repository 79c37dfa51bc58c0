"""What an SDK would find, both engines find: keys, profiles, addresses, authorities, proxies."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaiwo.errors import (
    CertificateError,
    ConfigError,
    CredentialsError,
    UnreachableError,
)
from kaiwo.objects import RemoteObject
from kaiwo.sources.obstore.source import ObstoreSource
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.tasks import s3_settings
from kaiwo.tasks.base import Engine
from tests import servers
from tests.support import certificates
from tests.support.engines import BIG, CANARY, CLOSED, OBJECTS, each_engine, everything, opened
from tests.support.recorded import recorded
from tests.support.stores import Store
from tests.support.tls_pipe import Pipe

pytestmark = pytest.mark.usefixtures("loopback_only")


NO_KEYS: dict[str, None] = {"access_key_id": None, "secret_key": None}


@each_engine
@pytest.mark.parametrize("token", [None, "a-token"])
def test_keys_of_the_environment_are_found(
    s3: Store, engine: Engine, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "found")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    bucket = s3.new_bucket(OBJECTS)
    with recorded(s3) as (store, asked), opened(store, bucket, engine, **NO_KEYS) as source:
        assert everything(source) == OBJECTS
    assert all("Credential=found/" in each.headers["authorization"] for each in asked)
    assert {each.headers.get("x-amz-security-token") for each in asked} == {token}


def shared_files(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
        monkeypatch.setenv(name, str(folder / name))


@each_engine
@pytest.mark.parametrize("named_by", ["task", "environment"])
def test_a_profile_gives_keys_region_and_address(
    s3_signed: Store,
    engine: Engine,
    named_by: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bucket = s3_signed.new_bucket(OBJECTS)
    with recorded(s3_signed) as (store, asked):
        key, secret = (store.settings[name] for name in ("access_key_id", "secret_key"))
        shared_files(
            tmp_path,
            monkeypatch,
            AWS_SHARED_CREDENTIALS_FILE=f"[p]\naws_access_key_id={key}\n"
            f"aws_secret_access_key={secret}\n",
            AWS_CONFIG_FILE="[default]\nregion=eu-nowhere-1\n[profile p]\nregion=eu-west-3\n"
            f"endpoint_url={store.fields['endpoint_url']}\n",
        )
        fields: dict[str, Any] = {**NO_KEYS, "endpoint_url": None, "region": None}
        if named_by == "task":
            fields["profile"] = "p"
        else:
            monkeypatch.setenv("AWS_PROFILE", "p")
        with opened(store, bucket, engine, **fields) as source:
            assert everything(source) == OBJECTS
    assert all(f"Credential={key}/" in each.headers["authorization"] for each in asked)
    assert all("/eu-west-3/s3/" in each.headers["authorization"] for each in asked)


@each_engine
@pytest.mark.parametrize("name", ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"])
@pytest.mark.parametrize("fields", [{}, NO_KEYS], ids=["keys", "no keys"])
def test_a_malformed_shared_file_is_a_fault_of_the_configuration(
    s3: Store,
    engine: Engine,
    name: str,
    fields: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shared_files(tmp_path, monkeypatch, **{name: f"[default\n{CANARY}"})
    store = replace(s3, fields={**s3.fields, **fields})
    with pytest.raises(ConfigError, match="malformed") as caught:
        store.opener("bucket", engine).open()
    assert CANARY not in caught.value.message


@each_engine
def test_a_profile_that_is_nowhere_is_told(
    s3: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared_files(tmp_path, monkeypatch, AWS_CONFIG_FILE="[default]\nregion=us-east-1\n")
    store = replace(s3, fields={**s3.fields, **NO_KEYS, "profile": "missing"})
    with pytest.raises(CredentialsError, match="profile missing"):
        store.opener("bucket", engine).open()


@each_engine
def test_without_any_keys_the_first_request_says_what_to_give(s3: Store, engine: Engine) -> None:
    bucket = s3.new_bucket(OBJECTS)
    with opened(s3, bucket, engine, **NO_KEYS) as source:
        for ask in (
            lambda: list(source.list("")),
            lambda: source.stat("k"),
            lambda: source.read(RemoteObject("k", 4), 0, 4),
            lambda: source.read(RemoteObject("big", len(BIG)), 0, len(BIG)),
            lambda: list(source.stream(RemoteObject("k", 4))),
        ):
            with pytest.raises(CredentialsError, match="access_key_id"):
                ask()


@each_engine
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("fields", [{}, NO_KEYS], ids=["keys", "no keys"])
@pytest.mark.parametrize("has_files", [False, True])
def test_the_address_is_found_in_the_environment(
    s3: Store,
    engine: Engine,
    name: str,
    fields: dict[str, Any],
    has_files: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    monkeypatch.setenv(name, s3.fields["endpoint_url"])
    if name == "AWS_ENDPOINT_URL_S3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
    if has_files:
        shared_files(tmp_path, monkeypatch, AWS_CONFIG_FILE=f"[default]\nendpoint_url={CLOSED}\n")
    if fields:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "found")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with opened(s3, bucket, engine, **fields, endpoint_url=None) as source:
        assert everything(source) == {"k": b"data"}


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
@pytest.mark.parametrize("has_files", [False, True])
def test_addresses_that_the_sdk_is_to_ignore_are_ignored(
    value: str, has_files: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from botocore.session import Session  # noqa: PLC0415

    monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", value)
    said = (None, "us-east-1", None, lambda: s3_settings.keys("a", "b", None))
    if has_files:
        shared_files(tmp_path, monkeypatch, AWS_CONFIG_FILE=f"[default]\nendpoint_url={CLOSED}\n")
        found = s3_settings.from_sdk(Session(), *said)
    else:
        found = s3_settings.from_environment(*said)
    assert found.endpoint is None
    address = s3_settings.address(found, "bucket", "auto")
    assert address["endpoint"] == "https://bucket.s3.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("endpoint", "bucket", "style", "expected"),
    [
        (None, "bucket", "auto", "https://bucket.s3.eu-west-3.amazonaws.com"),
        (None, "buc.ket", "auto", "https://s3.eu-west-3.amazonaws.com"),
        (None, "bucket", "path", "https://s3.eu-west-3.amazonaws.com"),
        (None, "bucket", "virtual", "https://bucket.s3.eu-west-3.amazonaws.com"),
        ("http://h:9000", "bucket", "auto", "http://h:9000"),
        ("http://h:9000/", "bucket", "path", "http://h:9000"),
        ("http://h:9000", "bucket", "virtual", "http://bucket.h:9000"),
        ("https://h/base/", "bucket", "virtual", "https://bucket.h/base"),
    ],
)
def test_the_bucket_is_in_the_path_or_in_the_host_name(
    endpoint: str | None, bucket: str, style: str, expected: str
) -> None:
    found = s3_settings.S3Settings(endpoint, "eu-west-3", None, None)
    config = s3_settings.address(found, bucket, style)
    assert (config["endpoint"], config["aws_endpoint_url_s3"]) == (expected, expected)
    assert config["virtual_hosted_style_request"] == (f"//{bucket}." in expected)


@pytest.mark.parametrize(
    "bucket", ["", "a", "a/b", "data--use1-az4--x-s3", "arn:aws:s3:x", "-bucket", "bücket"]
)
def test_a_bucket_that_only_the_sdk_can_find_is_not_addressed(bucket: str) -> None:
    found = s3_settings.S3Settings(None, "eu-west-3", None, None)
    with pytest.raises(NotForObstoreError):
        s3_settings.address(found, bucket, "auto")


@each_engine
@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_environments_authority_is_trusted(
    s3: Store, engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle, context = authority(tmp_path)
    bucket = s3.new_bucket(OBJECTS)
    monkeypatch.setenv(name, str(bundle))
    with contextlib.closing(Pipe(s3.fields["endpoint_url"], tls=context)) as pipe:
        address = f"https://localhost:{pipe.port}"
        with opened(s3, bucket, engine, endpoint_url=address) as source:
            assert everything(source) == OBJECTS
            if engine == "obstore":
                assert isinstance(source, ObstoreSource)
                assert not source.is_bypassed


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority's certificate, and the TLS of a server on localhost that it vouches for."""
    top = certificates.authority()
    bundle = folder / "ca.pem"
    bundle.write_bytes(top.pem)
    return bundle, certificates.server(top).tls(folder)


@pytest.mark.parametrize("variable", ["AWS_ALLOW_INVALID_CERTIFICATES"])
def test_no_variable_makes_obstore_trust_everybody(
    s3: Store, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, context = authority(tmp_path)
    bucket = s3.new_bucket({"k": b"data"})
    monkeypatch.setenv(variable, "true")
    with contextlib.closing(Pipe(s3.fields["endpoint_url"], tls=context)) as pipe:
        address = f"https://localhost:{pipe.port}"
        with (
            opened(s3, bucket, "obstore", endpoint_url=address) as source,
            pytest.raises(CertificateError),
        ):
            source.read(RemoteObject("k", 4), 0, 4)


@each_engine
def test_the_proxy_of_the_environment_is_used_but_for_what_it_excepts(
    s3: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{servers.free_port()}")
    with opened(s3, bucket, engine) as source, pytest.raises(UnreachableError):
        list(source.list(""))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.org,127.0.0.1")
    with opened(s3, bucket, engine) as source:
        assert everything(source) == {"k": b"data"}
