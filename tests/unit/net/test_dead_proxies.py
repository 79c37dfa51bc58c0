"""A proxy that cannot be reached: said as the proxy, by every SDK and both engines."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from kaiwo.errors import UnreachableError
from kaiwo.net.failures import wire_error
from kaiwo.net.unreachable import unreachable
from tests.support.stores import Store
from tests.unit.net.test_proxy_refusals import SDKS


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a proxy that the environment names, and where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv(name.upper(), address.replace("//", "//me:hunter2@"))
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield address


@pytest.mark.parametrize("sdk", SDKS.values(), ids=SDKS)
def test_every_sdk_that_cannot_reach_it_is_understood(
    sdk: Callable[[str], None], dead: str
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any SDK
        sdk(dead)
    found = wire_error(caught.value, "reading s3://bucket/key")
    assert isinstance(found, UnreachableError)
    assert f"the proxy {dead} cannot be reached: " in found.message
    assert "hunter2" not in found.message


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
def test_both_engines_say_so(s3: Store, dead: str, engine: str) -> None:
    source = s3.opener("bucket", engine).open()  # type: ignore[arg-type]
    try:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of any SDK
            source.stat("a")
        found = source.classify(caught.value)
    finally:
        source.close()
    assert isinstance(found, UnreachableError)
    assert f"the proxy {dead} cannot be reached: connection refused" in found.message


@pytest.mark.parametrize(
    ("what", "excepted"),
    [
        ("reading s3://bucket/key at http://10.0.0.1:9000", "10.0.0.0/8"),
        ("reading sftp://host/key", ""),
        ("reading https://example.org/x", "*"),
    ],
)
def test_the_service_is_named_where_it_is_asked_itself(
    dead: str, monkeypatch: pytest.MonkeyPatch, what: str, excepted: str
) -> None:
    monkeypatch.setenv("NO_PROXY", excepted)
    message = unreachable(what, "connection refused", " (is the service up?)").message
    assert message == f"{what}: connection refused (is the service up?)"
