"""Keys as people read them."""

from __future__ import annotations

import pytest

from kaiwo.net.web_urls import shown_key


@pytest.mark.parametrize(
    ("address", "key", "shown"),
    [
        ("https://host/d/", "a.bin?v=1&sig=x", "a.bin"),
        ("https://host/d/", "a.bin#x", "a.bin"),
        ("s3://bucket/", "a?b#c", "a?b#c"),
        ("s3://bucket/", "a.bin?sig=abc", "a.bin?sig=***"),
        ("s3://bucket/", "token=1/a", "token=1/a"),
        ("s3://bucket/", "/a@b", "/a@b"),
    ],
)
def test_a_key_is_shown_without_secrets(address: str, key: str, shown: str) -> None:
    assert shown_key(address, key) == shown
