"""What an etag may be: a condition of a request repeats it, so a header has to hold it."""

from __future__ import annotations

import pytest

from kaiwo.sources.answers import plain_etag, strong_etag


@pytest.mark.parametrize("odd", ["a\nb", "a\r\nX-Evil: 1", "a\tb", "\0", "a\x7f", "\u20ac", "\xe9"])
def test_what_no_header_can_hold_is_no_etag(odd: str) -> None:
    assert (plain_etag(f'"{odd}"'), strong_etag(f'"{odd}"')) == (None, None)


@pytest.mark.parametrize("usual", ["abc", "abc-2", "0x8DB!#$%&'*+/=", "a b", 'a"b'])
def test_any_other_is_one(usual: str) -> None:
    assert (plain_etag(f'"{usual}"'), plain_etag(f'W/"{usual}"')) == (usual, usual)
    assert (strong_etag(f'"{usual}"'), strong_etag(f'W/"{usual}"')) == (usual, None)
