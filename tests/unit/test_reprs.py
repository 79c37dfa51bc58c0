"""No repr shows a secret: tracebacks, debuggers and failing tests print them."""

from __future__ import annotations

import ssl
from typing import Any
from unittest.mock import Mock

import pytest
import urllib3

from kaiwo.api.fetch_order import Goal, order_of_urls
from kaiwo.api.orders import order_of
from kaiwo.config.expansion import expand
from kaiwo.net.answers import Answer
from kaiwo.net.redirects import Credentials, origin_of
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.identity import Token
from kaiwo.sources.web.options import WebOptions
from kaiwo.suite.bucket import Signing
from kaiwo.tasks.azure_settings import AzureSettings
from kaiwo.tasks.s3_identity import Role
from tests.support.configs import CANARY, LEAST, of

SIGNED = f"https://u:{CANARY}@host/k?sig={CANARY}"
HEADERS = {"Authorization": f"Bearer {CANARY}"}
HOLDERS = [
    AzureSettings(f"BlobEndpoint=https://h;AccountKey={CANARY}", "p", None, is_anonymous=False),
    Credentials(origin_of("https://host/"), HEADERS),
    Role("arn:aws:iam::123456789012:role/r", CANARY),
    WebOptions(HEADERS, CANARY, None, False, ssl.create_default_context(), NetworkSettings()),
    Answer(302, urllib3.HTTPHeaderDict({"Location": SIGNED}), SIGNED, Mock()),
    Token(CANARY),
    Signing(Mock(), Mock(), (CANARY,)),
    expand({"download_items": [{"token": CANARY}]}, "download_items", {}),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_what_holds_a_secret_does_not_show_it(holder: Any) -> None:
    assert CANARY not in f"{holder!r} {holder}"


def test_no_order_shows_what_an_address_holds() -> None:
    folder = f"https://u:{CANARY}@host/d/"
    items = [{"file": SIGNED, "target_path": "t"}, {"folder": folder, "target_path": "d"}]
    assert CANARY not in repr(order_of(of(LEAST["url"] | {"items": items})))
    assert CANARY not in repr(order_of_urls([SIGNED], Goal(), {}, {}))
