"""A proxy that refuses to connect to a host: said alike for all SDKs, as what it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import aiohttp
import botocore.config
import botocore.session
import httpx2
import pytest
import requests
import urllib3

from kaiwo.errors import (
    BusyError,
    CredentialsError,
    KaiwoError,
    ServiceError,
    UnavailableError,
)
from kaiwo.net.failures import wire_error
from tests.support.broken_servers import server

ADDRESS = "https://nowhere.invalid/x"


def _aiohttp(proxy: str) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession() as session, session.get(ADDRESS, proxy=proxy):
            pass

    asyncio.run(ask())


def _botocore(proxy: str) -> None:
    config = botocore.config.Config(proxies={"https": proxy}, retries={"total_max_attempts": 1})
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=ADDRESS,
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=config,
    )
    with contextlib.closing(client):
        client.list_buckets()


def _httpx2(proxy: str) -> None:
    with httpx2.Client(proxy=proxy) as client:
        client.get(ADDRESS)


def _requests(proxy: str) -> None:
    with requests.Session() as session:
        session.get(ADDRESS, proxies={"https": proxy}, timeout=5)


def _urllib3(proxy: str) -> None:
    with urllib3.ProxyManager(proxy) as manager:
        manager.request("GET", ADDRESS, retries=False)


SDKS: dict[str, Callable[[str], None]] = {
    "aiohttp": _aiohttp,
    "botocore": _botocore,
    "httpx2": _httpx2,
    "requests": _requests,
    "urllib3": _urllib3,
}


@pytest.mark.parametrize("sdk", SDKS.values(), ids=SDKS)
@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (b"407 Proxy Authentication Required", CredentialsError, "user and password"),
        (b"403 Forbidden", ServiceError, "403: the proxy does not allow this host"),
        (b"405 No", ServiceError, "405: the proxy does not allow this host"),
        (b"429 Too Many Requests", BusyError, "429: the proxy"),
        (b"503 Service Unavailable", UnavailableError, "503: the proxy"),
    ],
)
def test_what_a_proxy_answers_to_connect_is_said(
    sdk: Callable[[str], None], status: bytes, kind: type[KaiwoError], words: str
) -> None:
    def treat(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    with server(treat) as proxy, pytest.raises(Exception) as caught:  # noqa: PT011 - of any SDK
        sdk(proxy)
    found = wire_error(caught.value, "reading x")
    assert type(found) is kind
    assert found.message.startswith("reading x: ")
    assert words in found.message
