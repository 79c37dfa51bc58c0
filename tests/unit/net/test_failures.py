"""Every SDK's connection failures become kaiwo errors: by servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pickle
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiobotocore.session
import aiohttp
import botocore.config
import botocore.session
import httpx2
import pytest
import urllib3
from azure.storage.blob import ContainerClient
from azure.storage.blob.aio import ContainerClient as AsyncContainerClient

from kaiwo.errors import (
    CertificateError,
    KaiwoError,
    NoAnswerError,
    ServiceError,
    StalledError,
    TransientError,
    UnreachableError,
)
from kaiwo.net import certificates
from kaiwo.net.client import Client
from kaiwo.net.failures import chain, connection_error, wire_error
from kaiwo.net.settings import NetworkSettings
from tests.support.broken_servers import (
    SECRET,
    TIMEOUT_S,
    closed,
    hangs_up,
    resets,
    resets_in_the_body,
    server,
    silent,
)

WHAT = "reading s3://bucket/key"


# --- the SDKs: each asks for an address, which fails --------------------------------------------


def _botocore(address: str) -> None:
    config = botocore.config.Config(
        connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1}
    )
    client = botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=address,
        aws_access_key_id=SECRET,
        aws_secret_access_key=SECRET,
        config=config,
    )
    try:
        client.list_buckets()
    finally:
        client.close()


def _aiobotocore(address: str) -> None:
    async def ask() -> None:
        config = aiobotocore.config.AioConfig(
            connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1}
        )
        session = aiobotocore.session.get_session()
        async with session.create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=address,
            aws_access_key_id=SECRET,
            aws_secret_access_key=SECRET,
            config=config,
        ) as client:
            await client.list_buckets()

    asyncio.run(ask())


def _aiohttp(address: str) -> None:
    async def ask() -> None:
        timeout = aiohttp.ClientTimeout(sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(address, params={"sig": SECRET}) as answer,
        ):
            await answer.read()

    asyncio.run(ask())


#: What both clients of Azure are told.
AZURE: dict[str, Any] = {
    "credential": {"account_name": "account", "account_key": "aHVudGVyMg=="},
    "retry_total": 0,
    "connection_timeout": TIMEOUT_S,
    "read_timeout": TIMEOUT_S,
}


def _azure(address: str) -> None:
    with ContainerClient(
        address,
        "container",
        **AZURE,
    ) as client:
        client.get_container_properties()


def _azure_async(address: str) -> None:
    async def ask() -> None:
        async with AsyncContainerClient(
            address,
            "container",
            **AZURE,
        ) as client:
            await client.get_container_properties()

    asyncio.run(ask())


def _httpx2(address: str) -> None:
    httpx2.get(address, params={"sig": SECRET}, timeout=TIMEOUT_S)


def _client(address: str) -> None:
    network = NetworkSettings(connect_timeout_s=TIMEOUT_S, stall_timeout_s=TIMEOUT_S)
    client = Client(network, lambda: certificates.context(_authorities()))
    with (
        contextlib.closing(client),
        client.request("GET", f"{address}/?sig={SECRET}") as answer,
    ):
        answer.body()


def _urllib3(address: str) -> None:
    with urllib3.PoolManager(retries=False, timeout=TIMEOUT_S, ca_certs=_authorities()) as pool:
        pool.request("GET", f"{address}/?sig={SECRET}")


def _authorities() -> str | None:
    return ssl.get_default_verify_paths().cafile


SDKS: dict[str, Callable[[str], None]] = {
    "botocore": _botocore,
    "aiobotocore": _aiobotocore,
    "aiohttp": _aiohttp,
    "azure": _azure,
    "azure.aio": _azure_async,
    "httpx2": _httpx2,
    "kaiwo": _client,
    "urllib3": _urllib3,
}
each_sdk = pytest.mark.parametrize("sdk", SDKS.values(), ids=SDKS)


def raised(sdk: Callable[[str], None], address: str) -> Exception:
    """What the SDK itself makes of it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the SDK raises
        sdk(address)
    return caught.value


def told(error: Exception) -> KaiwoError:
    """What kaiwo makes of that: it survives pickling and shows no secret."""
    found = connection_error(error, WHAT)
    assert found is not None, [repr(cause) for cause in chain(error)]
    assert found.message.startswith(WHAT + ": ")
    assert SECRET not in found.message
    assert pickle.loads(pickle.dumps(found)).args == found.args
    return found


# --- below HTTP -------------------------------------------------------------------------------


@each_sdk
def test_a_closed_port_is_a_service_that_is_not_up(sdk: Callable[[str], None]) -> None:
    found = told(raised(sdk, closed()))
    assert type(found) is UnreachableError
    assert "refused" in found.message


@each_sdk
def test_an_unknown_name_is_a_service_that_is_not_up(sdk: Callable[[str], None]) -> None:
    found = told(raised(sdk, "http://no-such-host.invalid"))
    assert type(found) is UnreachableError
    assert "name is unknown" in found.message


@each_sdk
def test_a_certificate_that_nobody_trusts_is_final_and_says_what_to_do(
    sdk: Callable[[str], None], certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with server(lambda _: None, context) as address:
        found = told(raised(sdk, address))
    assert type(found) is CertificateError
    assert not isinstance(found, TransientError)
    assert "self-signed certificate" in found.message
    assert "ca_bundle" in found.message


@each_sdk
def test_a_server_without_tls_where_tls_is_spoken_is_named_at_once(
    sdk: Callable[[str], None],
) -> None:
    def speaks_plainly(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(OSError):
            connection.recv(65_536)

    with server(speaks_plainly) as address:
        found = told(raised(sdk, address.replace("http:", "https:")))
    assert type(found) is ServiceError
    assert "http:// instead of https://" in found.message


@each_sdk
@pytest.mark.parametrize("treat", [resets, hangs_up])
def test_a_connection_that_is_closed_without_an_answer_is_told_from_one_that_is_cut(
    sdk: Callable[[str], None], treat: Callable[[socket.socket], None]
) -> None:
    with server(treat) as address:
        found = wire_error(raised(sdk, address), WHAT)
    assert type(found) is NoAnswerError
    assert found.message.startswith(f"{WHAT}: ")
    assert SECRET not in found.message


@each_sdk
@pytest.mark.parametrize("treat", [resets, resets_in_the_body, hangs_up])
def test_a_connection_that_is_cut_is_transient(
    sdk: Callable[[str], None], treat: Callable[[socket.socket], None]
) -> None:
    # Some SDKs hide the cause; their sources ask ``wire_error`` about what only the wire can do.
    with server(treat) as address:
        found = wire_error(raised(sdk, address), WHAT)
    assert type(found) in (TransientError, NoAnswerError)
    assert found.message.startswith(f"{WHAT}: ")
    assert SECRET not in found.message


@each_sdk
def test_a_reset_is_told_by_its_cause(sdk: Callable[[str], None]) -> None:
    with server(resets) as address:
        found = told(raised(sdk, address))
    assert type(found) is NoAnswerError
    assert found.message == f"{WHAT}: {os.strerror(errno.ECONNRESET)}"


@each_sdk
def test_silence_is_transient(sdk: Callable[[str], None]) -> None:
    with silent() as address:
        error = raised(sdk, address)
    found = connection_error(error, WHAT)
    if found is None:
        assert "timeout" in type(error).__name__.lower()
        return
    assert type(told(error)) is StalledError
    assert "in time" in found.message


def test_what_is_no_error_of_the_wire_is_something_else() -> None:
    assert connection_error(ValueError("x"), WHAT) is None
    assert connection_error(FileNotFoundError(errno.ENOENT, "none", "/a"), WHAT) is None


@pytest.mark.parametrize(
    "number",
    [
        *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN),
        *(errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL),
    ],
)
def test_a_network_that_is_down_may_come_up(number: int) -> None:
    found = told(OSError(number, "x"))
    assert type(found) is UnreachableError
    assert os.strerror(number) in found.message


@each_sdk
def test_an_address_without_a_route_may_get_one(sdk: Callable[[str], None]) -> None:
    # No connection to a multicast address can be made: ENETUNREACH.
    found = told(raised(sdk, "http://224.0.0.1:9"))
    assert type(found) is UnreachableError


# --- chains of causes -------------------------------------------------------------------------


def test_the_chain_goes_through_every_place_where_sdks_keep_causes() -> None:
    places: list[Exception] = []
    for place in ("__cause__", "__context__", "os_error", "reason", "inner_exception"):
        error = Exception(place)
        setattr(error, place, ConnectionRefusedError())
        places.append(error)
    by_keyword: Any = Exception("kwargs")
    by_keyword.kwargs = {"error": ConnectionRefusedError()}
    places += [by_keyword, Exception("args", ConnectionRefusedError())]
    for error in places:
        assert any(isinstance(cause, ConnectionRefusedError) for cause in chain(error)), error
        assert type(told(error)) is UnreachableError


def test_a_chain_that_goes_in_circles_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert list(chain(first)) == [first, second]
    assert connection_error(first, WHAT) is None


def test_a_deep_chain_is_walked_to_its_end() -> None:
    error: Exception = ConnectionResetError(errno.ECONNRESET, "x")
    for number in range(2_000):
        outer = ValueError(number)
        outer.__cause__ = error
        error = outer
    assert type(told(error)) is NoAnswerError
