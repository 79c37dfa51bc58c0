"""Which proxy the environment names for an address."""

from __future__ import annotations

import base64
import os
import urllib.request

import pytest
from requests.utils import get_auth_from_url, select_proxy

from kaiwo.errors import ConfigError
from kaiwo.net import proxies
from kaiwo.net.proxies import Proxy, proxy_for

CANARY = "Kanarienvogel8"
PROXY = "http://proxy.invalid:3128"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REQUEST_METHOD":
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (None, None)),
        ({"HTTPS_PROXY": PROXY}, (PROXY, None)),
        ({"https_proxy": PROXY}, (PROXY, None)),
        ({"HTTP_PROXY": PROXY}, (None, PROXY)),
        ({"ALL_PROXY": PROXY}, (PROXY, PROXY)),
        ({"all_proxy": PROXY, "http_proxy": "http://other:1"}, (PROXY, "http://other:1")),
        (
            {"HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:1"},
            (None, "http://lower:1"),
        ),
        ({"HTTP_PROXY": PROXY, "http_proxy": ""}, (None, None)),
        ({"HTTPS_PROXY": "", "ALL_PROXY": ""}, (None, None)),
        ({"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, (PROXY, PROXY)),
        # A client's header ``Proxy`` sets HTTP_PROXY in a CGI program.
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, (None, None)),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, (None, PROXY)),
        ({"HTTPS_PROXY": PROXY, "REQUEST_METHOD": "GET"}, (PROXY, None)),
        ({"HTTPS_PROXY": f" {PROXY}/ \n"}, (PROXY, None)),
    ],
)
def test_the_variable_is_that_of_the_scheme_and_lower_case_is_first(
    environment: pytest.MonkeyPatch,
    variables: dict[str, str],
    expected: tuple[str | None, str | None],
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    found = tuple(proxies.url_for(f"{scheme}://store.invalid/x") for scheme in ("https", "http"))
    assert found == expected


@pytest.mark.parametrize(
    ("value", "address", "pair"),
    [
        ("proxy.invalid:3128", PROXY, None),
        ("proxy.invalid", "http://proxy.invalid:80", None),
        ("http://proxy.invalid/", "http://proxy.invalid:80", None),
        ("https://proxy.invalid", "https://proxy.invalid:443", None),
        ("HTTP://Proxy.invalid:3128", PROXY, None),
        ("[::1]:3128", "http://[::1]:3128", None),
        ("http://us%20er:p%40ss@proxy.invalid:3128", PROXY, b"us er:p@ss"),
        ("user:pass@proxy.invalid:3128", PROXY, b"user:pass"),
        ("http://user@proxy.invalid:3128", PROXY, b"user:"),
    ],
)
def test_a_proxy_may_have_any_usual_form(
    environment: pytest.MonkeyPatch, value: str, address: str, pair: bytes | None
) -> None:
    environment.setenv("https_proxy", value)
    found = proxy_for("https://store.invalid")
    assert found is not None
    assert found.address == address
    if pair is None:
        assert found == Proxy(address, None)
        assert found.url == address
        return
    assert found.authorization == f"Basic {base64.b64encode(pair).decode()}"
    # SDKs get the URL.
    assert get_auth_from_url(found.url) == tuple(pair.decode().split(":"))
    assert CANARY not in repr(Proxy("http://h:1", f"Basic {CANARY}"))


@pytest.mark.parametrize(
    "value",
    [f"socks5://u:{CANARY}@h:1", f"socks5h://{CANARY}@h", "::::", "http://", "http://h:x", "h:0",
     f"http://u:{CANARY}@two words:1", '"http://h:1"', "'h:1'", "<h>:1"],
)  # fmt: skip
def test_a_proxy_that_nobody_can_ask_is_a_fault_of_the_configuration(
    environment: pytest.MonkeyPatch, value: str
) -> None:
    environment.setenv("ALL_PROXY", value)
    with pytest.raises(ConfigError, match=r"^ALL_PROXY .*https://") as caught:
        proxy_for("https://store.invalid")
    assert CANARY not in caught.value.message
    assert proxies.canonical() == {}
    environment.setenv("NO_PROXY", "store.invalid")
    assert proxy_for("https://store.invalid") is None


EXCEPTED = {
    "example.org": ("https://example.org", "https://a.example.org:8443", "http://EXAMPLE.org."),
    ".example.org": ("https://example.org", "https://a.b.example.org"),
    "*.example.org": ("https://a.example.org",),
    "Example.ORG": ("https://example.org",),
    "example.org:8443": ("https://example.org:8443", "http://a.example.org:8443"),
    "example.org:443": ("https://example.org",),
    "x, 10.0.0.1 ,y": ("http://10.0.0.1:9000",),
    "x y\texample.org": ("http://example.org",),
    "10.0.0.1:9000": ("http://10.0.0.1:9000/a",),
    "10.0.0.0/8": ("http://10.0.0.1", "https://10.255.1.1:8443"),
    "10.9.9.9/8": ("http://10.0.0.1",),
    "::1": ("http://[::1]:9000", "http://[0:0::1]"),
    "[::1]": ("http://[::1]",),
    "[::1]:9000": ("http://[::1]:9000",),
    "fd00::/8": ("https://[fd12:3456::1]",),
    "[fd00::]/8": ("https://[fd12:3456::1]",),
    "10.0.0.0/24": ("http://[::ffff:10.0.0.7]",),
    "*": ("https://any.invalid", "http://10.0.0.1", "https://[::1]"),
    "x,*": ("https://any.invalid",),
    "localhost": ("http://localhost:9000",),
}
ASKED = {
    "": ("https://example.org",),
    ",": ("https://example.org",),
    "example.org": ("https://notexample.org", "https://example.org.invalid"),
    "example.org:8443": ("https://example.org", "https://example.org:9443"),
    "10.0.0.0/8": ("http://11.0.0.1", "https://10.example.org", "https://[::1]"),
    "10.0.0.1": ("http://110.0.0.1", "http://10.0.0.10"),
    "fd00::/8": ("https://[fe80::1]", "http://10.0.0.1"),
    "::2": ("https://[::1:2]",),
    "10.0.0.0/99": ("http://10.0.0.1",),
    ".": ("https://example.org",),
    "0.1": ("http://10.0.0.1",),
}


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(
    ("excepted", "entries"),
    [*((True, each) for each in EXCEPTED.items()), *((False, each) for each in ASKED.items())],
    ids=str,
)
def test_no_proxy_excepts_names_suffixes_ports_addresses_and_networks(
    environment: pytest.MonkeyPatch,
    name: str,
    excepted: bool,
    entries: tuple[str, tuple[str, ...]],
) -> None:
    value, addresses = entries
    environment.setenv("ALL_PROXY", PROXY)
    environment.setenv(name, value)
    for address in addresses:
        assert (proxy_for(address) is None) == excepted, address


def test_lower_case_is_first_here_too(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", PROXY)
    environment.setenv("NO_PROXY", "*")
    environment.setenv("no_proxy", "")
    assert proxy_for("https://example.org") is not None


def test_libraries_that_read_the_environment_find_the_same(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "user:pass@proxy.invalid:3128")
    environment.setenv("NO_PROXY", "example.org,169.254.0.0/16,fd00:ec2::/32")
    for name, value in proxies.canonical().items():
        environment.setenv(name, value)
    url = "http://user:pass@proxy.invalid:3128"
    of_python = urllib.request.getproxies()
    assert (of_python["http"], of_python["https"]) == (url, url)
    assert select_proxy("https://sts.invalid", of_python) == url
    for host in ("169.254.169.254", "169.254.170.2", "example.org", "fd00:ec2::254"):
        assert urllib.request.proxy_bypass(host), host
    assert not urllib.request.proxy_bypass("10.0.0.1")
    assert proxies.canonical() == {}


def test_what_everybody_understands_is_left_as_it_is(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("NO_PROXY", "169.254.0.0/16")
    assert proxies.canonical() == {}
    environment.setenv("HTTPS_PROXY", PROXY)
    environment.setenv("NO_PROXY", "localhost,.svc")
    assert proxies.canonical() == {}
    assert proxies.exceptions() == "localhost,.svc"
