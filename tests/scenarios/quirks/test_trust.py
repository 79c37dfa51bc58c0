"""Certificates: who is trusted, who is not and why, and which one the client shows."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kaiwo import environment
from kaiwo.errors import CertificateError, ConfigError
from kaiwo.tasks.base import Engine
from tests.servers import web
from tests.support import certificates
from tests.support.certificates import Certified
from tests.support.command import Kaiwo, tree
from tests.support.engines import QUICK
from tests.support.stores import Store
from tests.support.through import TLS, filled, read_all, through, tls_pipe
from tests.support.tls_pipe import Pipe

OBJECTS = {"k": b"data", "d/b": b"more"}
#: Every SDK obeys these, if they are the only one.
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class Authority:
    """An authority that nobody knows.

    Attributes:
        certified: signs.
        folder: for files.
        bundle: its certificate after another one.
    """

    certified: Certified
    folder: Path
    bundle: str

    def tls(self, **server: Any) -> TLS:
        """A server that it vouches for."""
        return TLS(self.bundle, certificates.server(self.certified, **server).tls(self.folder))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("trust")
    top = certificates.authority()
    bundle = folder / "ca.pem"
    bundle.write_bytes(certificates.authority().pem + top.pem)
    return Authority(top, folder, str(bundle))


@pytest.fixture(params=["s3", "gcs", "azure", "hub"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each provider in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def env(loopback_only: None, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*VARIABLES, "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@contextlib.contextmanager
def by_tls(store: Store, tls: TLS) -> Iterator[dict[str, Any]]:
    """Fields of a task that asks a store by TLS, and trusts nobody besides."""
    with tls_pipe(store, tls) as port:
        yield through(store, "https", port)


NOT_TRUSTED: dict[str, dict[str, Any]] = {
    "has expired": {"days": (-3, -2)},
    "is not valid yet": {"days": (2, 3)},
    "is for another host": {"host": "elsewhere.invalid"},
}


@pytest.mark.usefixtures("env")
@pytest.mark.parametrize("words", NOT_TRUSTED)
def test_what_is_wrong_with_a_certificate_is_told_apart(
    any_store: Store, engine: Engine, authority: Authority, words: str
) -> None:
    bucket = filled(any_store, OBJECTS)
    with (
        by_tls(any_store, authority.tls(**NOT_TRUSTED[words])) as fields,
        pytest.raises(CertificateError, match=f"the server's TLS certificate {words}") as caught,
    ):
        read_all(any_store, bucket, engine, **fields, ca_bundle=authority.bundle)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_of_the_environment_is_enough(
    any_store: Store, engine: Engine, authority: Authority, env: pytest.MonkeyPatch, name: str
) -> None:
    bucket = filled(any_store, OBJECTS)
    env.setenv(name, str(authority.folder) if name == "SSL_CERT_DIR" else authority.bundle)
    with by_tls(any_store, authority.tls()) as fields:
        assert read_all(any_store, bucket, engine, **fields) == OBJECTS


def test_so_is_the_variable_of_the_provider(
    s3: Store, engine: Engine, authority: Authority, env: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = filled(s3, OBJECTS)
    other = tmp_path / "other.pem"
    other.write_bytes(certificates.authority().pem)
    env.setenv("AWS_CA_BUNDLE", authority.bundle)
    env.setenv("REQUESTS_CA_BUNDLE", str(other))
    with by_tls(s3, authority.tls()) as fields:
        assert read_all(s3, bucket, engine, **fields) == OBJECTS


@pytest.mark.usefixtures("env")
def test_a_ca_bundle_may_be_a_folder(
    any_store: Store, engine: Engine, authority: Authority
) -> None:
    bucket = filled(any_store, OBJECTS)
    with by_tls(any_store, authority.tls()) as fields:
        found = read_all(any_store, bucket, engine, **fields, ca_bundle=str(authority.folder))
    assert found == OBJECTS


def test_the_tasks_ca_bundle_is_asked_first(
    any_store: Store, engine: Engine, authority: Authority, env: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(certificates.authority().pem)
    bucket = filled(any_store, OBJECTS)
    env.setenv("REQUESTS_CA_BUNDLE", authority.bundle)
    with (
        by_tls(any_store, authority.tls()) as fields,
        pytest.raises(CertificateError, match="ca_bundle"),
    ):
        read_all(any_store, bucket, engine, **fields, ca_bundle=str(other))


@pytest.mark.parametrize("name", [*VARIABLES, "AWS_CA_BUNDLE"])
def test_an_empty_variable_does_not_switch_verification_off(
    any_store: Store, engine: Engine, authority: Authority, env: pytest.MonkeyPatch, name: str
) -> None:
    bucket = filled(any_store, OBJECTS)
    env.setenv(name, "")
    env.setenv("PYTHONHTTPSVERIFY", "0")
    with (
        environment.cleaned(),
        by_tls(any_store, authority.tls()) as fields,
        pytest.raises(CertificateError),
    ):
        read_all(any_store, bucket, engine, **fields)


# --- client certificates ----------------------------------------------------------------------


@pytest.fixture
def client(authority: Authority, tmp_path: Path) -> dict[str, str]:
    """The fields of a client that the authority vouches for."""
    own = certificates.client(authority.certified)
    (tmp_path / "client.pem").write_bytes(own.pem)
    (tmp_path / "key.pem").write_bytes(own.key_pem)
    (tmp_path / "both.pem").write_bytes(own.pem + own.key_pem)
    names = {"client_certificate": "client.pem", "client_key": "key.pem", "both": "both.pem"}
    return {field: str(tmp_path / name) for field, name in names.items()}


def asking(authority: Authority) -> TLS:
    """A server that accepts clients of the authority only."""
    tls = authority.tls()
    tls.context.verify_mode = ssl.CERT_REQUIRED
    tls.context.load_verify_locations(authority.bundle)
    return tls


@pytest.mark.usefixtures("env")
@pytest.mark.parametrize("in_one", [False, True])
def test_a_client_shows_its_certificate(
    any_store: Store, authority: Authority, client: dict[str, str], in_one: bool
) -> None:
    both = client.pop("both")
    shown = {"client_certificate": both} if in_one else client
    bucket = filled(any_store, OBJECTS)
    with by_tls(any_store, asking(authority)) as fields:
        fields |= {"ca_bundle": authority.bundle, **shown}
        assert read_all(any_store, bucket, "auto", **fields) == OBJECTS
        if any_store.type != "hf":
            with pytest.raises(ConfigError, match="client_certificate"):
                read_all(any_store, bucket, "obstore", **fields)


@pytest.mark.usefixtures("env")
def test_a_server_that_wants_a_certificate_says_so(
    any_store: Store, engine: Engine, authority: Authority
) -> None:
    bucket = filled(any_store, OBJECTS)
    with (
        by_tls(any_store, asking(authority)) as fields,
        pytest.raises(CertificateError, match="give client_certificate and client_key"),
    ):
        read_all(any_store, bucket, engine, **fields, ca_bundle=authority.bundle)


# --- whole runs -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", NOT_TRUSTED)
def test_a_run_ends_with_3_on_the_web_too(
    kaiwo: Kaiwo, authority: Authority, tmp_path: Path, words: str
) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/k").write_bytes(b"data")
    items = [{"file": "", "target_path": "k"}]
    task: dict[str, Any] = {"type": "url", "items": items, "ca_bundle": authority.bundle}
    with web.folder(tmp_path / "www") as at:
        for tls in (authority.tls(**NOT_TRUSTED[words]), authority.tls()):
            with contextlib.closing(Pipe(at, tls=tls.context)) as pipe:
                items[0]["file"] = f"https://localhost:{pipe.port}/k"
                done = kaiwo({"download_items": [task]}, *QUICK)
            if done.code:
                assert done.code == 3, done.stderr
                assert f"certificate {words}" in done.stderr
    assert tree(tmp_path / "out") == {"k": b"data"}


@pytest.mark.parametrize("value", ["", 0, None, "false"])
@pytest.mark.parametrize(
    ("name", "fault"),
    [("ssl", "ssl must be true or false"), ("verify_ssl", "verify_ssl is not known")],
)
def test_only_a_plain_false_switches_verification_off_for_the_web(
    kaiwo: Kaiwo, authority: Authority, name: str, fault: str, value: object, tmp_path: Path
) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/k").write_bytes(b"data")
    with (
        web.folder(tmp_path / "www") as at,
        contextlib.closing(Pipe(at, tls=authority.tls().context)) as pipe,
    ):
        items = [{"file": f"https://localhost:{pipe.port}/k", "target_path": "k"}]
        task = {"type": "url", "items": items, "options": {name: value}}
        done = kaiwo({"download_items": [task]}, *QUICK)
    assert done.code == 2, done.stderr
    assert f"options: {fault}" in done.stderr


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ca_bundle": False}, "ca_bundle: must be a string"),
        ({"ca_bundle": ""}, "ca_bundle"),
        ({"ca_bundle": "${NOT_SET_ANYWHERE:-}"}, "ca_bundle"),
        ({"client_key": "/k"}, "client_key needs client_certificate"),
        ({"client_certificate": "/nowhere/c"}, "cannot read /nowhere/c"),
    ],
)
@pytest.mark.parametrize("type_", ["s3", "gcs", "azure-blob", "hf", "url"])
def test_fields_that_name_no_certificate_are_faults_of_the_configuration(
    kaiwo: Kaiwo, type_: str, fields: dict[str, Any], words: str
) -> None:
    own: dict[str, Any] = {"repo_id": "a/b"}
    if type_ == "url":
        own = {"items": [{"file": "https://localhost:1/k", "target_path": "k"}]}
    elif type_ != "hf":
        buckets = [{"name": "bucket", "items": [{"file": "k", "target_path": "k"}]}]
        own = {"containers" if type_ == "azure-blob" else "buckets": buckets}
    done = kaiwo({"download_items": [{"type": type_, **own, **fields}]}, *QUICK)
    assert done.code == 2, done.stderr
    assert words in done.stderr
