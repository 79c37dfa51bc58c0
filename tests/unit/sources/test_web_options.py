"""The options of a web source: what they mean, and to whom they go."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaiwo.errors import CertificateError, ConfigError, NotFoundError, ServiceError
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.web.options import WebOptions, parse
from kaiwo.sources.web.source import WebSource
from tests.servers import serving
from tests.servers.web import Page, Site, site
from tests.support.certificates import authority, server
from tests.support.tls_pipe import Pipe

BYTES = Page(b"bytes", {"ETag": '"1"'})
NETWORK = NetworkSettings(stall_timeout_s=10.0, connect_timeout_s=5.0)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def here() -> Iterator[Site]:
    with site() as found:
        found.pages["/a"] = BYTES
        yield found


@pytest.fixture
def other() -> Iterator[Site]:
    with site() as found:
        found.pages["/a"] = BYTES
        yield found


def read(address: str, options: Mapping[str, Any] | None = None, key: str = "a") -> bytes:
    with contextlib.closing(source(address, options)) as found:
        return bytes(found.read(found.stat(key), 0, 5))


def source(
    address: str, options: Mapping[str, Any] | None = None, ca_bundle: str | None = None
) -> WebSource:
    return WebSource(f"{address}/", f"{address}/", parse(options or {}, NETWORK, ca_bundle))


def sent(found: Site, name: str) -> list[str | None]:
    """A header of each request."""
    return [headers.get(name) for _, _, headers in found.asked]


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"headers": {"X-Who": "me"}}, "X-Who", "me"),
        ({"headers": {"User-Agent": "mine"}}, "User-Agent", "mine"),
        ({"headers": {"X-Who": "é"}}, "X-Who", "é".encode().decode("latin-1")),
        ({"client_kwargs": {"headers": {"X-Who": "me"}}}, "X-Who", "me"),
        (
            {"headers": {"x-who": "me"}, "client_kwargs": {"headers": {"X-Who": "you"}}},
            "x-who",
            "me",
        ),
        ({"auth": ["user", "pass"]}, "Authorization", basic("user", "pass")),
        ({"client_kwargs": {"auth": ("u", "p", "latin1")}}, "Authorization", basic("u", "p")),
        ({"cookies": {"a": "1", "b": "2"}}, "Cookie", "a=1; b=2"),
        ({"client_kwargs": {"cookies": {"a": "1"}}}, "Cookie", "a=1"),
    ],
)
def test_what_is_given_for_a_server_goes_to_it_and_to_no_other(
    here: Site, other: Site, options: dict[str, Any], name: str, value: str
) -> None:
    here.pages["/b"] = Page(redirect="/c")
    here.pages["/c"] = Page(redirect=f"{other.at}/a")
    assert read(here.at, options, "b") == b"bytes"
    assert set(sent(here, name)) == {value}
    assert other.asked
    assert value not in sent(other, name)


def test_user_info_of_the_address_is_kept_on_the_same_host(here: Site, other: Site) -> None:
    here.pages["/b"] = Page(redirect=f"{here.at}/c")
    here.pages["/c"] = Page(redirect=f"{other.at}/a")
    assert read(here.at.replace("://", "://us%20er:secret@"), None, "b") == b"bytes"
    assert set(sent(here, "Authorization")) == {basic("us er", "secret")}
    assert set(sent(other, "Authorization")) == {None}


@pytest.mark.parametrize("params", [{"token": "a b"}, "token=a%20b", [["token", "a b"]]])
def test_parameters_are_added_to_each_address(here: Site, params: Any) -> None:
    here.pages["/a?token=a%20b"] = here.pages["/a?x&token=a%20b"] = BYTES
    assert read(here.at, {"params": params}) == b"bytes"
    assert read(here.at, {"params": params}, "a?x") == b"bytes"


def test_cookies_of_a_server_go_back_to_it(here: Site, other: Site) -> None:
    here.pages["/b"] = Page(redirect="/a", headers={})
    here.pages["/a"] = Page(b"bytes", {"ETag": '"1"', "Set-Cookie": "seen=yes; Path=/"})
    # Cookies know hosts, not ports.
    here.pages["/c"] = Page(redirect=other.at.replace(serving.HOST, "localhost") + "/a")
    with contextlib.closing(source(here.at, {"cookies": {"own": "1"}})) as found:
        found.stat("a")
        found.stat("b")
        found.stat("c")
    assert sent(here, "Cookie") == ["own=1", *["own=1; seen=yes"] * 3]
    assert set(sent(other, "Cookie")) == {None}


def test_netrc_is_read_for_each_host_that_it_names(
    here: Site, other: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine localhost login you password there\ndefault login all password any\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    here.pages["/b"] = Page(redirect=other.at.replace(serving.HOST, "localhost") + "/a")
    here.pages["/c"] = Page(redirect=f"{other.at}/a")
    read(here.at, None, "b")
    assert set(sent(here, "Authorization")) == {basic("all", "any")}
    assert set(sent(other, "Authorization")) == {basic("you", "there")}
    for asked in (here.asked, other.asked):
        asked.clear()
    read(here.at, {"auth": ["me", "mine"]}, "c")
    assert set(sent(here, "Authorization")) == {basic("me", "mine")}
    assert set(sent(other, "Authorization")) == {None}
    here.asked.clear()
    read(here.at, {"client_kwargs": {"trust_env": False}})
    assert set(sent(here, "Authorization")) == {None}


def test_a_proxy_of_the_options_counts_more_than_that_of_the_environment(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://nowhere.invalid:1")
    here.pages["http://host.invalid/a"] = BYTES
    of_proxy = here.at.replace("://", "://u:p@")
    assert read("http://host.invalid", {"proxy": of_proxy}) == b"bytes"
    assert set(sent(here, "Proxy-Authorization")) == {basic("u", "p")}
    named = {"proxy": here.at, "proxy_auth": ["me", "mine"]}
    assert read("http://host.invalid", named) == b"bytes"
    assert sent(here, "Proxy-Authorization")[-1] == basic("me", "mine")
    assert read(here.at, {"client_kwargs": {"trust_env": False}}) == b"bytes"


def test_https_does_not_lead_to_http_and_a_certificate_is_verified_unless_forbidden(
    here: Site, other: Site, tmp_path: Path
) -> None:
    here.pages["/b"] = Page(redirect=f"{other.at}/a")
    tls = server(authority()).tls(tmp_path)
    with contextlib.closing(Pipe(here.at, tls=tls)) as pipe:
        address = f"https://{serving.HOST}:{pipe.port}"
        with pytest.raises(CertificateError):
            read(address)
        assert read(address, {"ssl": False}) == b"bytes"
        with pytest.raises(ServiceError, match="from https to http"):
            read(address, {"ssl": False}, "b")
    assert other.asked == []


@pytest.mark.parametrize(
    ("timeout", "connect_s", "stall_s"),
    [
        (2, 2, 2),
        ({"sock_connect": 3}, 3, 10),
        ({"sock_read": 4.5}, 5, 4.5),
        (SimpleNamespace(total=1, connect=None, sock_connect=None, sock_read=None), 1, 1),
        (1000, 5, 10),
        (None, 5, 10),
    ],
)
def test_a_timeout_is_at_most_that_of_the_run(
    timeout: object, connect_s: float, stall_s: float
) -> None:
    for options in ({"timeout": timeout}, {"client_kwargs": {"timeout": timeout}}):
        found: WebOptions = parse(options, NETWORK, None)
        assert found.network.connect_timeout_s == connect_s
        assert found.network.stall_timeout_s == stall_s


@pytest.mark.parametrize(
    "options",
    [
        {"heders": {}},
        {"get_client": print},
        {"headers": "x"},
        {"headers": {"a": ["b"]}},
        {"headers": {"a": "b\r\nc: d"}},
        {"headers": {"ä": "b"}},
        {"client_kwargs": {"connector": 1}},
        {"client_kwargs": 1},
        {"client_kwargs": {"trust_env": "no"}},
        {"auth": "user:pass"},
        {"auth": ["user", 1]},
        {"cookies": {"a": 1}},
        {"params": 7},
        {"proxy": "socks5://secret@host:1"},
        {"proxy": "http://secret@:x"},
        {"proxy": "http://h", "proxy_headers": {"X": "y"}},
        {"ssl": "no"},
        {"timeout": "secret"},
        {"timeout": True},
        {"timeout": -1},
        {"timeout": {"sock_read": "x"}},
    ],
)
def test_what_an_option_cannot_be_is_a_fault_of_the_configuration(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="options: ") as caught:
        parse(options, NETWORK, None)
    assert "secret" not in caught.value.message


def test_options_without_effect_are_said(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert read(here.at, {"block_size": 5, "simple_links": False}) == b"bytes"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{here.at}/ is read without these options, which change nothing: block_size, simple_links"
    ]


def test_a_context_of_the_caller_is_used(here: Site, tmp_path: Path) -> None:
    signs = authority()
    context = ssl.create_default_context(cadata=signs.pem.decode())
    with contextlib.closing(Pipe(here.at, tls=server(signs).tls(tmp_path))) as pipe:
        address = f"https://localhost:{pipe.port}"
        assert read(address, {"ssl": context}) == b"bytes"


def test_a_status_that_is_no_file_is_refused(here: Site) -> None:
    here.pages["/a"] = Page(status=204, head=204)
    with pytest.raises(ServiceError, match="204"):
        read(here.at)
    with pytest.raises(NotFoundError):
        read(here.at, key="none")
