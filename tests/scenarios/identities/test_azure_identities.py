"""Every way to sign in at Azure Blob Storage, through both engines, against what checks it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api.report import Report
from kaiwo.errors import ConfigError
from kaiwo.tasks.base import Engine
from tests.servers.entra import Entra, entra
from tests.support import stores
from tests.support.azure import signature
from tests.support.command import tree
from tests.support.engines import ALL
from tests.support.forward_proxy import forward_proxy
from tests.support.identities.azure import PRINCIPAL, WAYS, Setting, Way
from tests.support.stores import Store
from tests.support.through import TLS
from tests.support.tls_pipe import Pipe
from tests.support.token_relay import Guarded, guarded

CANARY = "Kanarienvogel"
OBJECTS = {"big": bytes(range(256)) * 36_000, **{f"d/{n}": b"%d" % n for n in range(30)}}
SMALL = {"k": b"data", "d/b c": b"more"}
#: Ways whose identity the task does not name.
AMBIENT = [
    way
    for way in WAYS
    if not any(word in way.named for word in ("client_secret", "principal_certificate"))
    and "client ID" not in way.row.way
]
ways = pytest.mark.parametrize("way", WAYS, ids=[way.row.way for way in WAYS])
pytestmark = pytest.mark.usefixtures("loopback_only")


@pytest.fixture(scope="module")
def container(azure: Store) -> str:
    """A container with objects."""
    return azure.new_bucket(OBJECTS)


@pytest.fixture(scope="module")
def tls_azurite(tls: TLS) -> Iterator[Store]:
    """An azurite of TLS and bearer tokens, with a container."""
    both = str(Path(tls.bundle).with_name("server-and-key.pem"))
    with stores.azure(f"--certificate={both}", f"--key={both}") as store:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", tls.bundle)
            store.fill("container", SMALL)
        yield store


@dataclass
class World:
    """Entra, a store that wants its tokens, and what a run of kaiwo is given."""

    entra: Entra
    store: Store
    guard: Guarded
    container: str
    folder: Path
    patch: pytest.MonkeyPatch

    @property
    def endpoint(self) -> str:
        """Of the blob service."""
        return f"{self.guard.address}/{self.store.settings['account_name']}"

    def run(self, setting: Setting, engine: Engine, **fields: Any) -> Report:
        """Fetch all of the container, in this process."""
        for name, value in setting.env.items():
            self.patch.setenv(name, value)
        given: dict[str, Any] = {"connection_string": None, "ca_bundle": self.guard.bundle}
        given |= {**setting.fields, **fields}
        if "client_id" in given:
            given["endpoint_url"] = self.endpoint
        elif "endpoint_url" not in given:
            # The same environment names the endpoint: it may have what is found there.
            connection = f"BlobEndpoint={self.endpoint}"
            self.patch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        containers = given.pop("containers", [{"name": self.container, "items": ALL}])
        task = self.store.task(self.container, ALL, **given) | {"containers": containers}
        config = {"download_root": str(self.folder / "out"), "download_items": [task]}
        return kaiwo.download(
            config, engine=engine, progress="none", retries=0, startup_wait=0, max_workers=4
        )


@pytest.fixture
def world(
    azure: Store, container: str, tls: TLS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A new Entra, and the store of the session behind a relay."""
    with (
        entra() as found,
        contextlib.closing(Pipe(found.at, tls=tls.context)) as pipe,
        guarded(azure, found.tokens, tls, query=signature(azure, container)) as guard,
    ):
        found.authority = f"https://localhost:{pipe.port}"
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", found.authority)
        yield World(found, azure, guard, container, tmp_path, monkeypatch)


@ways
def test_a_right_identity_reads_and_is_renewed(world: World, way: Way, engine: Engine) -> None:
    setting = way.set_up(world.entra, world.folder)
    world.entra.tokens.revoke_at = 5
    report = world.run(setting, engine)
    assert report.ok, report.failed[0].error
    assert tree(world.folder / "out") == OBJECTS
    agents = {each.headers["user-agent"] == "kaiwo" for each in world.guard.asked}
    assert agents == ({False} if engine == "fsspec" else {False, True})
    assert len(world.entra.tokens.given) == 2
    assert world.guard.refused


@ways
def test_a_wrong_identity_is_named(
    world: World, way: Way, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    setting = way.set_up(world.entra, world.folder)
    way.spoil(world.entra)
    with caplog.at_level("DEBUG"):
        report = world.run(setting, engine)
    assert report.exit_code == 3, report
    (error,) = {item.error.message for item in report.failed if item.error}
    assert f"asking for a token of {way.named}: " in error
    assert way.says in error
    assert CANARY not in error + caplog.text + json.dumps(report.to_dict())
    assert tree(world.folder / "out") == {}


def test_azurite_takes_these_tokens_by_tls(
    world: World, engine: Engine, tls_azurite: Store, tls: TLS
) -> None:
    """It reads audience, issuer and times of each, as no relay of the other tests does."""
    world.entra.gives_jwt = True
    setting = WAYS[0].set_up(world.entra, world.folder)
    fields = {"connection_string": None, "endpoint_url": tls_azurite.settings["endpoint_url"]}
    given = {**fields, **setting.fields, "ca_bundle": tls.bundle}
    task = tls_azurite.task("container", ALL, **given)
    config = {"download_root": str(world.folder / "out"), "download_items": [task]}
    report = kaiwo.download(config, engine=engine, progress="none", retries=0, startup_wait=0)
    assert report.ok, report.failed[0].error
    assert tree(world.folder / "out") == SMALL
    assert len(world.entra.tokens.given) == 1


@pytest.mark.parametrize("way", AMBIENT, ids=[way.row.way for way in AMBIENT])
def test_no_token_goes_to_an_endpoint_that_the_task_names(
    world: World, way: Way, engine: Engine
) -> None:
    """Unless the task names the identity, too."""
    setting = way.set_up(world.entra, world.folder)
    report = world.run(setting, engine, endpoint_url=world.endpoint)
    assert report.exit_code == 3
    assert world.guard.asked
    assert not any("authorization" in each.headers for each in world.guard.asked)
    assert world.entra.asked == []


@pytest.mark.parametrize("form", ["account_key", "sas_token", "connection_string", "environment"])
def test_a_wrong_key_or_signature_is_named(
    azure: Store,
    engine: Engine,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = f"{CANARY}AAAAA".ljust(86, "A") + "=="
    wrong = f"sv=2021-08-06&se=2090-01-01&sr=c&sp=rl&sig={CANARY}%3D"
    names = ("account_name", "endpoint_url")
    fields: dict[str, Any] = {name: azure.settings[name] for name in names}
    fields |= {form: key if form == "account_key" else wrong}
    named = f"the {'account key' if form == 'account_key' else 'signature'} of {form}"
    endpoint = azure.settings["endpoint_url"]
    if form == "connection_string":
        fields = {form: f"BlobEndpoint={endpoint};SharedAccessSignature=?{wrong}"}
    elif form == "environment":
        fields, variable = {}, "AZURE_STORAGE_CONNECTION_STRING"
        right = azure.settings["account_key"]
        monkeypatch.setenv(variable, azure.settings["connection_string"].replace(right, key))
        named = f"the account key of {variable}"
    task = azure.task("no-such-container", ALL, **{"connection_string": None, **fields})
    config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
    report = kaiwo.download(config, engine=engine, progress="none", retries=0, startup_wait=0)
    assert report.exit_code == 3
    (item,) = report.failed
    assert item.error is not None
    assert f"; signed in as {named}" in item.error.message
    assert CANARY not in json.dumps(report.to_dict())


def test_the_environment_names_account_and_key_for_both_engines(
    azure: Store, container: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING", azure.settings["connection_string"].replace(";", " ;\n")
    )
    task = azure.task(container, ALL, connection_string=None)
    config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
    report = kaiwo.download(config, engine=engine, progress="none")
    assert report.ok, report.failed[0].error
    assert tree(tmp_path / "out") == OBJECTS


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"endpoint_url": f"https://me:{CANARY}@host/a", "sas_token": "x"}, "no user and password"),
        ({"connection_string": f"BlobEndpoint=https://me:{CANARY}@host/a"}, "no user and password"),
        ({**PRINCIPAL, "principal_certificate": CANARY, "account_name": "a"}, "certificate"),
        ({"principal_certificate": CANARY, "account_name": "a"}, "needs tenant_id"),
        ({}, "no account"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_a_fault_of_the_configuration(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    task = {"type": "azure-blob", "containers": [{"name": "b", "items": ALL}], **fields}
    config = {"download_root": str(tmp_path), "download_items": [task]}
    with pytest.raises(ConfigError, match=words) as caught:
        kaiwo.download(config, progress="none").raise_for_failures()
    assert CANARY not in caught.value.message


def test_two_containers_ask_once_by_the_proxy_and_metadata_never_by_one(
    world: World, engine: Engine
) -> None:
    by_header = next(way for way in WAYS if "IDENTITY_ENDPOINT" in way.named)
    other = world.store.new_bucket({})
    containers = [{"name": name, "items": ALL} for name in (world.container, other)]
    port = world.guard.address.rpartition(":")[2]
    with forward_proxy() as proxy:
        for name in ("https_proxy", "http_proxy"):
            world.patch.setenv(name, proxy.address)
        world.patch.setenv("no_proxy", f"localhost:{port}")
        setting = WAYS[0].set_up(world.entra, world.folder)
        assert world.run(setting, engine, containers=containers[:1]).ok
        assert {line.split()[0] for line in proxy.lines} == {"CONNECT"}
        proxy.lines.clear()
        setting = by_header.set_up(world.entra, world.folder)
        world.run(setting, engine, containers=containers, name="two")
        assert proxy.lines == []
    assert len(world.entra.tokens.given) == 2
