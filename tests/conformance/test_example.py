"""The provider in the docstring of ``kaiwo.sources.base`` is a source, as it stands there."""

from __future__ import annotations

import hashlib
import io
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from kaiwo.errors import BugError, CredentialsError, NotFoundError, UnreachableError
from kaiwo.protocols import Opener, Source
from kaiwo.sources import base
from kaiwo.testing import SourceSuite, TestBucket

URL = "shelf://bucket/"
PAGE = 500


class ShelfClient:
    """The SDK of that store; the bucket is a mapping, or None if it does not exist."""

    def __init__(self, bucket: dict[str, bytes] | None) -> None:
        self._bucket = bucket
        self.failure: Exception | None = None

    def list(self, prefix: str, token: str) -> tuple[list[tuple[str, int, str]], str]:
        objects = self._objects()
        keys = [key for key in sorted(objects) if key.startswith(prefix) and key > token]
        page = keys[:PAGE]
        entries = [(key, len(objects[key]), etag_of(objects[key])) for key in page]
        return entries, page[-1] if len(keys) > PAGE else ""

    def head(self, key: str) -> tuple[int, str]:
        data = self._objects()[key]
        return len(data), etag_of(data)

    def get(self, key: str, start: int, end: int) -> tuple[io.BytesIO, str]:
        data = self._objects()[key]
        return io.BytesIO(data[start:end]), etag_of(data)

    def _objects(self) -> dict[str, bytes]:
        if self.failure is not None:
            raise self.failure
        if self._bucket is None:
            raise KeyError("bucket")
        return self._bucket


def etag_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def example() -> Any:
    """The class in the docstring."""
    text = base.__doc__ or ""
    code = text[text.index("    from collections.abc") : text.index("``kaiwo.testing")]
    names: dict[str, Any] = {}
    exec(textwrap.dedent(code), names)
    return names["ShelfSource"]


@dataclass(frozen=True)
class ShelfOpener(Opener):
    """Opens a source for a bucket."""

    client: ShelfClient = field(compare=False)
    origin = "shelf"
    service = origin

    def open(self) -> Source:
        source: Source = example()(self.client, URL)
        return source

    def secrets_digest(self) -> bytes:
        return b""

    def url(self, key: str, version: str | None = None) -> str:  # noqa: ARG002 - it has none
        return URL + key


class TestExample(SourceSuite):
    #: There is no server: ``examples/provider`` has one.
    asks_who_reads = False
    has_address = False

    @pytest.fixture
    def bucket(self) -> TestBucket:
        objects: dict[str, bytes] = {}

        def put(new: Mapping[str, bytes]) -> None:
            objects.update(new)

        return TestBucket(ShelfOpener(ShelfClient(objects)), ShelfOpener(ShelfClient(None)), put)


@pytest.fixture
def client() -> ShelfClient:
    return ShelfClient({"a": b"1"})


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (KeyError("secret"), NotFoundError, "looking up shelf://bucket/a: not found"),
        (PermissionError("secret"), CredentialsError, "looking up shelf://bucket/a: access is"),
        (ConnectionRefusedError("secret"), UnreachableError, "looking up shelf://bucket/a: conn"),
        (ZeroDivisionError("secret"), BugError, "looking up shelf://bucket/a: unforeseen Zero"),
    ],
)
def test_errors_begin_with_operation_and_url_and_quote_nothing_of_the_sdk(
    client: ShelfClient, failure: Exception, kind: type[Exception], message: str
) -> None:
    client.failure = failure
    source = ShelfOpener(client).open()
    with pytest.raises(kind, match=f"^{message}") as caught:
        source.stat("a")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
