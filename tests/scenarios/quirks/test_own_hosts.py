"""Tokens that a task does not name: for the provider's hosts, or the environment's endpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from kaiwo.errors import KaiwoError
from kaiwo.sources.hub import tokens
from kaiwo.tasks.azure import AzureTask
from kaiwo.tasks.base import Engine
from kaiwo.tasks.gcs import GcsTask
from tests.support import certificates, stores
from tests.support.command import Kaiwo, Run, tree
from tests.support.engines import ALL, QUICK
from tests.support.hubs import Hub
from tests.support.proxies import base_of
from tests.support.recorded import recorded
from tests.support.stores import Store
from tests.support.through import TLS, filled, read_all
from tests.support.tls_pipe import Pipe

TOKEN = "hf_right"
FILES = {"config.json": b"{}", "large.bin": bytes(1 << 20)}
WITHHELD = "the token of the environment or of a login is not sent to"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A Hub that knows one token, and lets anybody read."""
    with stores.hub(f"--token={TOKEN}") as store:
        store.fill("acme/own", FILES)
        yield Hub(store)


@pytest.fixture
def login(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return str(path)


def run_of(kaiwo: Kaiwo, hub: Hub, env: dict[str, str], **fields: Any) -> tuple[Run, set[object]]:
    """A run, and what its requests had for credentials."""
    hub.ask("reset")
    task = {"type": "hf", "repo_id": "acme/own", "target_path": ".", **fields}
    done = kaiwo({"download_items": [task]}, *QUICK, env=env)
    return done, {bool(each["authorization"]) for each in hub.log() if "/lfs/" not in each["path"]}


@pytest.mark.parametrize("way", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"])
def test_a_mirror_that_the_task_names_does_not_get_the_token_of_the_environment(
    kaiwo: Kaiwo, hub: Hub, login: str, tmp_path: Path, way: str
) -> None:
    env = {way: login if way == "HF_TOKEN_PATH" else TOKEN}
    address = hub.store.settings["endpoint_url"]
    done, sent = run_of(kaiwo, hub, env, endpoint_url=address)
    assert (done.code, sent) == (0, {False}), done.stderr
    assert tree(tmp_path / "out") == FILES
    (line,) = (line for line in done.stderr.splitlines() if WITHHELD in line)
    assert f"{address}; if it is meant for it, give token or token_file, or set HF_ENDPOINT" in line
    assert TOKEN not in done.stderr


@pytest.mark.parametrize("also", [False, True])
def test_the_endpoint_of_the_same_environment_gets_it(kaiwo: Kaiwo, hub: Hub, also: bool) -> None:
    address = hub.store.settings["endpoint_url"]
    fields = {"endpoint_url": f"{address}/"} if also else {}
    done, sent = run_of(kaiwo, hub, {"HF_TOKEN": TOKEN, "HF_ENDPOINT": address}, **fields)
    assert (done.code, sent) == (0, {True}), done.stderr
    assert WITHHELD not in done.stderr


def test_a_mirror_gets_a_token_that_the_task_names(kaiwo: Kaiwo, hub: Hub, login: str) -> None:
    address = hub.store.settings["endpoint_url"]
    done, sent = run_of(kaiwo, hub, {"HF_TOKEN": "other"}, endpoint_url=address, token_file=login)
    assert (done.code, sent) == (0, {True}), done.stderr
    assert WITHHELD not in done.stderr


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://huggingface.co", True),
        ("https://HuggingFace.co:443/", True),
        ("https://hub-ci.huggingface.co", True),
        ("https://hf.co", True),
        ("http://huggingface.co", False),
        ("https://huggingface.co.example.org", False),
        ("https://nothuggingface.co", False),
        ("https://hf-mirror.com", False),
        ("https://huggingface.co@example.org", False),
    ],
)
def test_which_hosts_are_the_hub(address: str, expected: bool) -> None:
    assert tokens.may_go_to(address) == expected


def test_an_endpoint_of_the_environment_that_is_none_gets_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://host:port")
    assert not tokens.may_go_to("http://host")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://host:port")
    assert GcsTask.model_validate(
        {"buckets": BUCKETS, "endpoint_url": "https://gcs.example.org"}
    ).withheld()


# --- Google -----------------------------------------------------------------------------------

BUCKETS = [{"name": "bucket", "items": [{"file": "k", "target_path": "k"}]}]


@pytest.mark.parametrize(
    ("fields", "withheld"),
    [
        ({}, False),
        ({"endpoint_url": "https://storage.googleapis.com"}, False),
        ({"endpoint_url": "https://storage-vpc.p.googleapis.com"}, False),
        ({"endpoint_url": "https://storage.googleapis.com.example.org"}, True),
        ({"endpoint_url": "https://notgoogleapis.com"}, True),
        ({"endpoint_url": "https://gcs.example.org"}, True),
        ({"endpoint_url": "https://gcs.example.org", "token": "x"}, False),
        ({"endpoint_url": "https://gcs.example.org", "anonymous": True}, False),
        ({"endpoint_url": "https://emulator.example.org:8443"}, False),
    ],
)
def test_which_hosts_are_googles(
    fields: dict[str, Any], withheld: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://emulator.example.org:8443/")
    task = GcsTask.model_validate({"buckets": BUCKETS, **fields})
    assert (task.withheld() is not None) == withheld


@pytest.mark.usefixtures("loopback_only")
@pytest.mark.parametrize("named_by", ["task", "environment"])
def test_application_credentials_of_the_environment_stay_here_too(
    gcs: Store, engine: Engine, named_by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = filled(gcs, FILES)
    own = certificates.authority()
    (tmp_path / "ca.pem").write_bytes(own.pem)
    tls = TLS(str(tmp_path / "ca.pem"), certificates.server(own).tls(tmp_path))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", gcs.settings["service_account_file"])
    with (
        recorded(gcs) as (by_way, asked),
        contextlib.closing(Pipe(base_of_fields(by_way), tls=tls.context)) as pipe,
    ):
        address = f"https://localhost:{pipe.port}"
        fields: dict[str, Any] = {"endpoint_url": address, "application_credentials_file": None}
        if named_by == "environment":
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
            fields["endpoint_url"] = None
        with contextlib.suppress(KaiwoError):
            assert read_all(gcs, bucket, engine, ca_bundle=tls.bundle, **fields) == FILES
    assert asked
    assert {"authorization" in each.headers for each in asked} == {named_by == "environment"}


def base_of_fields(store: Store) -> str:
    """Where the fields of a store say that it is."""
    return str(store.fields["endpoint_url"])


def test_the_log_says_so_once(kaiwo: Kaiwo, gcs: Store) -> None:
    address = "https://127.0.0.1:1"
    fields = {"endpoint_url": address, "application_credentials_file": None}
    env = {"GOOGLE_APPLICATION_CREDENTIALS": gcs.settings["service_account_file"]}
    done = kaiwo({"download_items": [gcs.task("b", [*ALL, *ALL], **fields)]}, *QUICK, env=env)
    (line,) = (line for line in done.stderr.splitlines() if "are not sent to" in line)
    assert f"not sent to {address}; give application_credentials_file or token_file" in line


# --- Azure ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "withheld"),
    [
        ({}, False),
        ({"account_name": "account"}, False),
        ({"endpoint_url": "https://account.blob.core.windows.net"}, False),
        ({"endpoint_url": "https://account.blob.core.chinacloudapi.cn"}, False),
        ({"endpoint_url": "https://account.blob.core.usgovcloudapi.net"}, False),
        ({"endpoint_url": "https://account.z1.blob.storage.azure.net"}, False),
        ({"endpoint_url": "https://account.blob.core.windows.net.example.org"}, True),
        ({"endpoint_url": "https://core.windows.net.example.org"}, True),
        ({"endpoint_url": "https://notcore.windows.net"}, True),
        ({"endpoint_url": "https://blobs.example.org/account"}, True),
        ({"endpoint_url": "https://blobs.example.org", "client_id": "identity"}, False),
        ({"endpoint_url": "https://blobs.example.org", "sas_token": "x"}, False),
        ({"endpoint_url": "https://blobs.example.org", "anonymous": True}, False),
    ],
)
def test_which_hosts_are_azures(fields: dict[str, Any], withheld: bool) -> None:
    task = AzureTask.model_validate({"containers": BUCKETS, **fields})
    assert (task.withheld() is not None) == withheld


@pytest.mark.usefixtures("loopback_only")
def test_a_sign_in_of_the_environment_stays_here_too(
    azure: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = certificates.authority()
    (tmp_path / "ca.pem").write_bytes(own.pem)
    tls = TLS(str(tmp_path / "ca.pem"), certificates.server(own).tls(tmp_path))
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "x")
    with contextlib.closing(Pipe(base_of(azure), tls=tls.context)) as pipe:
        address = f"https://localhost:{pipe.port}/{azure.settings['account_name']}"
        fields = {"connection_string": None, "endpoint_url": address, "ca_bundle": tls.bundle}
        # The server refuses to be asked by nobody. Nobody was asked for a token, which would fail.
        with pytest.raises(KaiwoError) as caught:
            read_all(azure, "none", engine, **fields)
        assert pipe.connections
    assert "no usable credentials" not in caught.value.message
