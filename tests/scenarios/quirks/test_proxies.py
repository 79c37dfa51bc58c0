"""The proxies of the environment: the same one for both engines and every source."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaiwo.errors import (
    BusyError,
    ConfigError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    ServiceError,
    UnavailableError,
)
from kaiwo.tasks.base import Engine
from tests.servers import web
from tests.support import certificates
from tests.support.command import Kaiwo, tree
from tests.support.engines import CANARY, QUICK
from tests.support.forward_proxy import ForwardProxy, forward_proxy
from tests.support.stores import Store
from tests.support.through import TLS, filled, read_all, through, tls_pipe

pytestmark = pytest.mark.usefixtures("loopback_only")
OBJECTS = {"k": b"data", "d/b": b"more"}
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        for each in (name, name.upper()):
            monkeypatch.delenv(each, raising=False)
    return monkeypatch


@pytest.fixture(params=["s3", "gcs", "azure", "hub"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each provider in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    folder = tmp_path_factory.mktemp("proxies")
    top = certificates.authority()
    (folder / "ca.pem").write_bytes(top.pem)
    return TLS(str(folder / "ca.pem"), certificates.server(top).tls(folder))


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with forward_proxy() as found:
        yield found


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_plain_http_goes_through_the_proxy_with_its_password(
    any_store: Store, engine: Engine, env: pytest.MonkeyPatch, proxy: ForwardProxy, name: str
) -> None:
    bucket = filled(any_store, OBJECTS)
    # Without a scheme, as many write it.
    env.setenv(name, proxy.url("us%20er:p%40ss").removeprefix("http://"))
    assert read_all(any_store, bucket, engine) == OBJECTS
    assert proxy.lines
    assert all(" http://" in line for line in proxy.lines)
    pair = base64.b64encode(b"us er:p@ss").decode()
    assert proxy.authorizations == {f"Basic {pair}"}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
def test_tls_goes_through_a_tunnel(
    any_store: Store,
    engine: Engine,
    env: pytest.MonkeyPatch,
    proxy: ForwardProxy,
    tls: TLS,
    name: str,
) -> None:
    bucket = filled(any_store, OBJECTS)
    env.setenv(name, proxy.url("user:pass"))
    with tls_pipe(any_store, tls) as port:
        fields = through(any_store, "https", port) | {"ca_bundle": tls.bundle}
        assert read_all(any_store, bucket, engine, **fields) == OBJECTS
    tunnels = [line for line in proxy.lines if line.startswith(f"CONNECT localhost:{port} ")]
    assert tunnels
    pair = base64.b64encode(b"user:pass").decode()
    assert proxy.authorizations == {f"Basic {pair}"}


@pytest.mark.parametrize(
    "no_proxy",
    [
        "127.0.0.1",
        "127.0.0.0/8",
        "10.0.0.0/8 127.0.0.1/32",
        "*",
        "127.0.0.1:{port}",
        "::1,127.0.0.1",
    ],
)
def test_what_no_proxy_names_is_asked_directly(
    any_store: Store,
    engine: Engine,
    env: pytest.MonkeyPatch,
    proxy: ForwardProxy,
    no_proxy: str,
) -> None:
    bucket = filled(any_store, OBJECTS)
    port = any_store.settings["endpoint_url"].rpartition(":")[2].partition("/")[0]
    env.setenv("ALL_PROXY", proxy.address)
    env.setenv("NO_PROXY", no_proxy.format(port=port))
    assert read_all(any_store, bucket, engine) == OBJECTS
    # The bytes of large files, and tokens, have other ports.
    of_others = [line for line in proxy.lines if f":{port}/" not in line]
    assert proxy.lines == (of_others if "port" in no_proxy else [])


@pytest.mark.parametrize("no_proxy", ["127.0.0.1:1", "128.0.0.0/8", "27.0.0.1", ""])
def test_what_it_does_not_name_is_asked_through_the_proxy(
    any_store: Store, engine: Engine, env: pytest.MonkeyPatch, proxy: ForwardProxy, no_proxy: str
) -> None:
    bucket = filled(any_store, OBJECTS)
    env.setenv("ALL_PROXY", proxy.address)
    env.setenv("NO_PROXY", no_proxy)
    assert read_all(any_store, bucket, engine) == OBJECTS
    assert proxy.lines


def test_a_proxy_may_be_asked_by_tls(
    store: Store, engine: Engine, env: pytest.MonkeyPatch, tls: TLS
) -> None:
    bucket = filled(store, OBJECTS)
    with forward_proxy(tls.context) as proxy, tls_pipe(store, tls) as port:
        env.setenv("HTTPS_PROXY", proxy.url("user:pass", host="localhost"))
        fields = through(store, "https", port) | {"ca_bundle": tls.bundle}
        assert read_all(store, bucket, engine, **fields) == OBJECTS
    assert any(line.startswith(f"CONNECT localhost:{port} ") for line in proxy.lines)


def test_so_may_a_proxy_for_plain_http(
    s3: Store, engine: Engine, env: pytest.MonkeyPatch, tls: TLS
) -> None:
    bucket = filled(s3, OBJECTS)
    with forward_proxy(tls.context) as proxy:
        env.setenv("HTTP_PROXY", proxy.url("user:pass", host="localhost"))
        assert read_all(s3, bucket, engine, ca_bundle=tls.bundle) == OBJECTS
    assert proxy.lines


def test_a_proxy_that_nobody_can_ask_is_never_ignored(
    any_store: Store, engine: Engine, env: pytest.MonkeyPatch
) -> None:
    bucket = filled(any_store, OBJECTS)
    env.setenv("ALL_PROXY", f"socks5://user:{CANARY}@127.0.0.1:1")
    with pytest.raises(ConfigError, match="ALL_PROXY") as caught:
        read_all(any_store, bucket, engine)
    assert CANARY not in caught.value.message


def test_the_web_is_asked_through_the_proxy_of_each_host(
    kaiwo: Kaiwo, proxy: ForwardProxy, tmp_path: Path
) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/k").write_bytes(b"data")
    with web.folder(tmp_path / "www") as at:
        task = {"type": "url", "items": [{"file": f"{at}/k", "target_path": "k"}]}
        done = kaiwo({"download_items": [task]}, *QUICK, env={"all_proxy": proxy.address})
        assert done.code == 0, done.stderr
        assert tree(tmp_path / "out") == {"k": b"data"}
        assert f"GET {at}/k HTTP/1.1" in proxy.lines
        proxy.lines.clear()
        env = {"all_proxy": proxy.address, "no_proxy": "127.0.0.0/8"}
        done = kaiwo({"download_items": [task]}, *QUICK, "--force", env=env)
        assert (done.code, proxy.lines) == (0, []), done.stderr


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (407, CredentialsError, "user and password"),
        (401, CredentialsError, "user and password"),
        (403, ServiceError, "NO_PROXY"),
        (429, BusyError, "the proxy asks to wait"),
        (502, NoAnswerError, "the proxy does not reach the host"),
        (503, UnavailableError, "the proxy does not reach the host"),
    ],
)
def test_a_proxy_that_refuses_a_tunnel_is_what_is_told(
    any_store: Store,
    engine: Engine,
    env: pytest.MonkeyPatch,
    status: int,
    kind: type[KaiwoError],
    words: str,
) -> None:
    with forward_proxy(status=status) as proxy:
        env.setenv("HTTPS_PROXY", proxy.address)
        with pytest.raises(KaiwoError, match=words) as caught:
            read_all(any_store, "none", engine, **through(any_store, "https", 1))
    assert type(caught.value) is kind
    assert f": {status}: the proxy" in caught.value.message


def test_a_proxy_that_wants_a_password_says_so_for_plain_http_too(
    any_store: Store, engine: Engine, env: pytest.MonkeyPatch
) -> None:
    with forward_proxy(status=407) as proxy:
        env.setenv("HTTP_PROXY", proxy.address)
        fields = {"application_credentials_file": None, "anonymous": True}
        fields = fields if any_store.type == "gcs" else {}  # its tokens have another host
        with pytest.raises(CredentialsError, match="the proxy refuses its user and password"):
            read_all(any_store, "none", engine, **fields)
