"""What statements about one object agree on."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo.engine.statements import agreed, are_of_other_bytes
from kaiwo.objects import Checksum, RemoteObject

MD5 = "9e107d9d372bb6826bd81d3542a419d6"
ONE = RemoteObject("a", 4, "etag", modified_ns=1, checksum=Checksum("sha256", "aa"))


def test_what_differs_identifies_nothing() -> None:
    later = replace(ONE, etag="other", size=5)
    assert agreed(ONE, later) == replace(ONE, etag=None, size=5)
    assert agreed(ONE, replace(ONE, modified_ns=2)) == replace(ONE, modified_ns=None)
    other = replace(ONE, checksum=Checksum("sha256", "bb"), modified_ns=None)
    assert agreed(ONE, other) == replace(ONE, checksum=None, modified_ns=None)
    # What was dropped once stays dropped, though a later answer states it again.
    assert agreed(agreed(ONE, later), ONE) == replace(ONE, etag=None)


@pytest.mark.parametrize(
    ("later", "are_other"),
    [
        ({"etag": "other", "modified_ns": 2, "size": 5}, False),
        ({"checksum": None}, False),
        ({"checksum": Checksum("md5", MD5), "etag": MD5}, False),
        ({"checksum": Checksum("sha256", "bb")}, True),
        ({"checksum": Checksum("crc32c", "bb")}, False),
        ({"version": "2"}, True),
        ({"etag": "other", "silent_reads": True}, True),
    ],
)
def test_a_version_or_a_checksum_proves_other_bytes(
    later: dict[str, Any], *, are_other: bool
) -> None:
    one = replace(ONE, version="1" if "version" in later else None)
    assert are_of_other_bytes(one, replace(one, **later)) == are_other


def test_a_checksum_that_is_the_etag_proves_no_more_than_it() -> None:
    one = replace(ONE, etag=MD5, checksum=Checksum("md5", MD5))
    turned = MD5[::-1]
    later = replace(ONE, etag=turned, checksum=Checksum("md5", turned))
    assert not are_of_other_bytes(one, later)
