"""Origins: what credentials are for, and which addresses share a server."""

from __future__ import annotations

import pytest

from kaiwo.net.redirects import Credentials, RedirectError, join, origin_of, target_of


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://host/a", "https://host/b?c", True),
        ("https://host/a", "https://HOST:443/", True),
        ("http://host/", "http://host:80/", True),
        ("https://user:secret@host/", "https://host/", True),
        ("https://host/", "http://host/", False),
        ("https://host/", "https://host:8443/", False),
        ("https://host/", "https://other/", False),
        ("https://host/", "https://sub.host/", False),
        ("http://host:443/", "https://host:443/", False),
    ],
)
def test_scheme_host_and_port_are_an_origin(one: str, other: str, is_same: bool) -> None:
    assert (origin_of(one) == origin_of(other)) is is_same


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://host/", "http://host/", True),
        ("https://host/", "http://host:80/", True),
        ("https://host:8443/", "http://host:8443/", True),
        ("https://host/", "http://host:443/", False),
        ("https://host/", "https://other/", False),
    ],
)
def test_the_default_ports_are_one_server(one: str, other: str, is_same: bool) -> None:
    assert origin_of(one).has_server_of(origin_of(other)) is is_same


@pytest.mark.parametrize(
    ("address", "gets"),
    [
        ("http://host/b", True),
        ("http://HOST:80/", True),
        ("https://host/", True),
        ("https://host:8443/", False),
        ("http://sub.host/", False),
        ("http://other@host/", True),
        ("http://host@other/", False),
    ],
)
def test_credentials_are_for_one_server(address: str, gets: bool) -> None:
    credentials = Credentials(origin_of("http://user@host/"), {"X-Who": "me"})
    assert bool(credentials.for_address(address)) is gets


def test_credentials_of_https_do_not_go_out_in_plain_text() -> None:
    credentials = Credentials(origin_of("https://host/"), {"X-Who": "me"})
    assert not credentials.for_address("http://host/")


def test_https_never_leads_to_http() -> None:
    for location in ("http://host/", "HTTP://other/", "http:/host"):
        with pytest.raises(RedirectError):
            target_of("https://host/a", location)
    assert target_of("http://host/a", "https://host/b") == "https://host/b"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("b//c", "https://u:p@h/d//b//c"),
        ("../b", "https://u:p@h/d/b"),
        ("../../../../b/..", "https://u:p@h/"),
        ("/b//c?d//e#f", "https://u:p@h/b//c?d//e"),
        ("//k//b", "https://k//b"),
        ("https://k//b/../c", "https://k//b/../c"),
        ("?x=http://y", "https://u:p@h/d//a?x=http://y"),
        ("#f", "https://u:p@h/d//a?q"),
        ("b:c", "b:c"),
        ("./b:c", "https://u:p@h/d//b:c"),
    ],
)
def test_an_address_is_joined_with_each_of_its_slashes(reference: str, expected: str) -> None:
    assert join("https://u:p@h/d//a?q", reference) == expected
