"""A client that is closed: a request ends, at whichever step it waits for the other side."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from kaiwo.errors import UnfinishedError
from kaiwo.net import certificates
from kaiwo.net.client import Client
from kaiwo.net.proxies import Proxy
from kaiwo.net.settings import NetworkSettings
from tests.support.broken_servers import server

PATIENCE_S = 20.0
#: The bytes that come before the other side falls silent.
SILENT_AFTER = {
    "TLS handshake": b"",
    "tunnel": b"HTTP/1.1 2",
    "TLS handshake in a tunnel": b"HTTP/1.1 200 OK\r\n\r\n",
    "head": b"HTTP/1.1 200 OK\r\nContent-",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
    "body of an answer that ends its connection": b"HTTP/1.0 200 OK\r\n\r\n12345",
}


@pytest.mark.parametrize("step", SILENT_AFTER)
def test_a_request_ends_when_its_client_is_closed(step: str) -> None:
    waits, ended = threading.Event(), threading.Event()

    def fall_silent(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(SILENT_AFTER[step])
        if "handshake in" in step:
            connection.recv(65_536)  # the client begins it
        waits.set()
        ended.wait(PATIENCE_S)

    def close() -> None:
        assert waits.wait(PATIENCE_S)
        client.close()

    with server(fall_silent) as address, contextlib.ExitStack() as stack:
        stack.callback(ended.set)
        proxy = Proxy(address, None) if "tunnel" in step else None
        settings = NetworkSettings(stall_timeout_s=PATIENCE_S, connect_timeout_s=PATIENCE_S)
        client = Client(settings, lambda: certificates.context(None), find_proxy=lambda _: proxy)
        closing = threading.Thread(target=close)
        closing.start()
        start_s = time.monotonic()
        scheme = "https" if proxy or "TLS" in step else "http"
        # A body without a length ends where its connection ends; whoever knows its size judges it.
        place = f"{scheme}:{address.partition(':')[2]}"
        with contextlib.suppress(UnfinishedError), client.request("GET", place) as answer:
            assert answer.take(10) == (b"12345" if "body" in step else b"")
        assert time.monotonic() - start_s < PATIENCE_S / 2
        closing.join()
        with pytest.raises(UnfinishedError), client.request("GET", address):
            pass
