"""Every way to sign in at Google Cloud Storage, through both engines, against what checks it."""

from __future__ import annotations

import contextlib
import http.server
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from google.auth import iam
from google.auth.compute_engine import _metadata
from google.oauth2 import credentials

import kaiwo
from kaiwo.api.report import Report
from kaiwo.errors import ConfigError
from kaiwo.tasks.base import Engine
from tests.servers import serving
from tests.servers.google_identity import Google, google
from tests.support.command import tree
from tests.support.engines import ALL
from tests.support.forward_proxy import forward_proxy
from tests.support.identities.gcs import WAYS, Setting, Way
from tests.support.recorded import Asked
from tests.support.stores import Store
from tests.support.through import TLS
from tests.support.tls_pipe import Pipe
from tests.support.token_relay import Guarded, guarded

CANARY = "Kanarienvogel"
OBJECTS = {"big": bytes(range(256)) * 36_000, **{f"d/{n}": b"%d" % n for n in range(30)}}
#: Ways whose identity the task does not name.
AMBIENT = [
    way for way in WAYS if not any(word in way.named for word in ("application_cred", "token_file"))
]
ways = pytest.mark.parametrize("way", WAYS, ids=[way.row.way for way in WAYS])
pytestmark = pytest.mark.usefixtures("loopback_only")


@pytest.fixture(scope="module")
def bucket(gcs: Store) -> str:
    """A bucket with objects."""
    return gcs.new_bucket(OBJECTS)


@dataclass
class World:
    """Google, a store that wants its tokens, and what a run of kaiwo is given."""

    google: Google
    store: Store
    guard: Guarded
    bucket: str
    folder: Path
    patch: pytest.MonkeyPatch

    def run(self, setting: Setting, engine: Engine, **fields: Any) -> Report:
        """Fetch all of the bucket, in this process."""
        # The same environment names the endpoint: it may have what is found there.
        self.patch.setenv("STORAGE_EMULATOR_HOST", self.guard.address)
        for name, value in setting.env.items():
            self.patch.setenv(name, value)
        if host := setting.env.get("GCE_METADATA_HOST"):
            self.patch.setattr(_metadata, "_GCE_METADATA_HOST", host)  # read at import
        bare = {"endpoint_url": None, "application_credentials_file": None, "project": None}
        given = {**bare, "ca_bundle": self.guard.bundle, **setting.fields, **fields}
        buckets = given.pop("buckets", [{"name": self.bucket, "items": ALL}])
        task = self.store.task(self.bucket, ALL, **given) | {"buckets": buckets}
        config = {"download_root": str(self.folder / "out"), "download_items": [task]}
        return kaiwo.download(
            config, engine=engine, progress="none", retries=0, startup_wait=0, max_workers=4
        )


@pytest.fixture
def world(
    gcs: Store, bucket: str, tls: TLS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A new Google, and the store of the session behind a relay."""
    with google() as found, guarded(gcs, found.tokens, tls) as guard:
        # For these two, the SDK asks Google, whatever the JSON says.
        monkeypatch.setattr(credentials, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{found.at}/token")
        at = f"{found.at}/v1/projects/-/serviceAccounts/{{}}:generateAccessToken"
        monkeypatch.setattr(iam, "_IAM_ENDPOINT", at)
        yield World(found, gcs, guard, bucket, tmp_path, monkeypatch)


@ways
def test_a_right_identity_reads_and_is_renewed(world: World, way: Way, engine: Engine) -> None:
    setting = way.set_up(world.google, world.folder)
    world.google.tokens.revoke_at = 5 if setting.renews else 0
    report = world.run(setting, engine)
    assert report.ok, report.failed[0].error
    assert tree(world.folder / "out") == OBJECTS
    by_xml = {unquote(each.target).startswith(f"/{world.bucket}/") for each in world.guard.asked}
    assert by_xml == ({False} if engine == "fsspec" else {False, True})
    stored = [each for each in world.google.asked if each.endswith("/token")]
    assert len(stored) <= (2 if setting.renews else 0), stored


@ways
def test_a_wrong_identity_is_named(
    world: World, way: Way, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    setting = way.set_up(world.google, world.folder)
    way.spoil(world.google)
    with caplog.at_level("DEBUG"):
        report = world.run(setting, engine)
    assert report.exit_code == 3
    (error,) = {item.error.message for item in report.failed if item.error}
    assert way.named in error
    assert CANARY not in error + caplog.text + json.dumps(report.to_dict())
    assert tree(world.folder / "out") == {}


@pytest.mark.parametrize("way", AMBIENT, ids=[way.row.way for way in AMBIENT])
def test_no_token_goes_to_an_endpoint_that_the_task_names(
    world: World, way: Way, engine: Engine
) -> None:
    """Unless the same environment names it, too."""
    setting = way.set_up(world.google, world.folder)
    other = {"STORAGE_EMULATOR_HOST": "https://other.example.org"}
    setting = replace(setting, env={**setting.env, **other})
    report = world.run(setting, engine, endpoint_url=world.guard.address)
    assert report.exit_code == 3
    assert world.guard.asked
    assert not any("authorization" in each.headers for each in world.guard.asked)
    assert world.google.asked == []


def test_the_project_pays_for_every_request(
    gcs: Store,
    bucket: str,
    tls: TLS,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unpaid(asked: Asked) -> str:
        by_json = "/storage/v1/b/" in asked.target
        header = asked.headers.get("x-goog-user-project")
        paid = "userProject=payer" in asked.target if by_json else header == "payer"
        return "" if paid else "UserProjectMissing"

    with google() as found, guarded(gcs, found.tokens, tls, unpaid) as guard:
        world = World(found, gcs, guard, bucket, tmp_path, monkeypatch)
        setting = WAYS[0].set_up(found, tmp_path)
        report = world.run(setting, engine, project="payer", requester_pays=True)
        assert report.ok, report.failed[0].error
        assert tree(tmp_path / "out") == OBJECTS
        assert not world.run(setting, engine, project="payer", name="other").ok


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"requester_pays": True}, "requester_pays needs project"),
        ({"requester_pays": True, "project": "p", "anonymous": True}, "exclude each other"),
        ({"endpoint_url": f"https://me:{CANARY}@host"}, "no user and password"),
    ],
)
def test_what_cannot_be_is_a_fault_of_the_configuration(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    task = {"type": "gcs", "buckets": [{"name": "b", "items": ALL}], **fields}
    with pytest.raises(ConfigError, match=words) as caught:
        kaiwo.download({"download_root": str(tmp_path), "download_items": [task]})
    assert CANARY not in caught.value.message


def test_two_buckets_ask_the_metadata_server_once_and_never_by_a_proxy(
    world: World, engine: Engine
) -> None:
    (way,) = (way for way in WAYS if "metadata server" in way.named)
    setting = way.set_up(world.google, world.folder)
    other = world.store.new_bucket({"x": b"y"})
    buckets = [{"name": name, "items": ALL} for name in (world.bucket, other)]
    with forward_proxy() as proxy:
        world.patch.setenv("http_proxy", proxy.address)
        report = world.run(setting, engine, buckets=buckets)
    assert report.ok, report.failed[0].error
    assert len([each for each in world.google.asked if each.endswith("/token")]) == 1
    assert proxy.lines == []


def test_many_buckets_look_for_a_metadata_server_once(
    world: World, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is probed is not Google's: it does not say so."""
    probed: list[str] = []

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            probed.append(self.path)
            self.send_error(404)

    monkeypatch.setattr(_metadata, "_NO_GCE_CHECK", False)
    monkeypatch.setattr(_metadata, "detect_gce_residency_linux", bool)
    monkeypatch.delenv("GCE_METADATA_HOST")
    with serving.listening(Handler) as at:
        monkeypatch.setenv("GCE_METADATA_IP", at.partition("://")[2])
        buckets = [{"name": f"bucket-{n}", "items": ALL} for n in range(9)]
        report = world.run(Setting(), engine, buckets=buckets)
    assert report.exit_code == 3
    assert len(report.failed) == 9
    assert probed == ["/"]
    assert all("no metadata server answers" in str(each.error) for each in report.failed)


def test_a_token_is_asked_for_by_the_proxy_and_verified_by_the_bundle(
    world: World, engine: Engine, tls: TLS
) -> None:
    with contextlib.closing(Pipe(world.google.at, tls=tls.context)) as pipe, forward_proxy() as by:
        setting = WAYS[1].set_up(world.google, world.folder)
        told = json.loads(setting.fields["application_credentials"])
        told["token_uri"] = f"https://localhost:{pipe.port}/token"
        world.patch.setenv("https_proxy", by.address)
        world.patch.setenv("no_proxy", f"localhost:{world.guard.address.rpartition(':')[2]}")
        report = world.run(Setting({"application_credentials": json.dumps(told)}), engine)
        assert report.ok, report.failed[0].error
        assert [line.split()[0] for line in by.lines] == ["CONNECT"]
