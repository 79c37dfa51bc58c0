"""Origins: what credentials are for, and which addresses share a server."""

from __future__ import annotations

import pytest

from kaiwo.net.redirects import origin_of


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
