"""Connections that are kept: what is sent on them, by which way, and what comes of odd answers."""

from __future__ import annotations

import base64
import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import pytest

from kaiwo.errors import ConfigError, ServiceError, TransientError
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.hub.connections import Connections
from tests.servers import free_port, serving

BODY = bytes(range(256)) * 1000
Handle = Callable[[http.server.BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """A web server, and the requests that it saw: their lines, headers, and connections."""

    address: str
    lines: list[str] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)
    clients: list[int] = field(default_factory=list)


@contextlib.contextmanager
def serves(handle: Handle) -> Iterator[Server]:
    """A server that answers every request as ``handle`` does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.lines.append(self.requestline)
            server.headers.append(self.headers)
            server.clients.append(self.client_address[1])
            handle(self)

        do_CONNECT = do_GET  # noqa: N815 - the library's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Requests are not logged."""

    listener = http.server.ThreadingHTTPServer((serving.HOST, 0), Handler)
    server = Server(f"http://{serving.HOST}:{listener.server_port}")
    with serving.in_thread(listener):
        yield server


def whole(handler: http.server.BaseHTTPRequestHandler) -> None:
    """A plain answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(BODY)))
    handler.end_headers()
    handler.wfile.write(BODY)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)
    return monkeypatch


@pytest.fixture
def connections() -> Iterator[Connections]:
    found = Connections(NetworkSettings(stall_timeout_s=10), None)
    yield found
    found.close()


def got(connections: Connections, address: str, size: int = len(BODY)) -> bytes:
    with connections.request("GET", address, {}) as answer:
        return bytes(answer.take(size))


def test_one_connection_serves_requests_one_after_the_other(connections: Connections) -> None:
    with serves(whole) as server:
        assert [got(connections, f"{server.address}/{n}") for n in range(3)] == [BODY] * 3
    assert len(set(server.clients)) == 1


def test_a_body_that_nobody_read_costs_a_new_connection_and_spoils_nothing(
    connections: Connections,
) -> None:
    with serves(whole) as server:
        with connections.request("GET", server.address, {}):
            pass
        assert got(connections, server.address) == BODY
    assert len(set(server.clients)) == 2


def test_a_connection_that_the_server_has_closed_meanwhile_is_replaced(
    connections: Connections,
) -> None:
    ended = threading.Event()

    def once(handler: http.server.BaseHTTPRequestHandler) -> None:
        whole(handler)
        handler.close_connection = True  # without a word in the headers
        handler.wfile.flush()
        handler.connection.shutdown(2)
        ended.set()

    with serves(once) as server:
        for _ in range(3):
            assert got(connections, server.address) == BODY
            assert ended.wait(10)
            ended.clear()


def test_small_answers_that_are_no_object_keep_their_connection(connections: Connections) -> None:
    def missing(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(404)
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"none!")

    with serves(missing) as server:
        for _ in range(2):
            with (
                contextlib.suppress(KeyError),
                connections.request("GET", server.address, {}) as answer,
            ):
                raise KeyError(answer.status)
    assert len(set(server.clients)) == 1


def test_more_than_was_asked_for_is_refused_and_less_comes_back_short(
    connections: Connections,
) -> None:
    with serves(whole) as server:
        with pytest.raises(TransientError, match="more than"):
            got(connections, server.address, 100)
        assert got(connections, server.address, len(BODY) + 1) == BODY


def test_a_packed_answer_is_refused(connections: Connections) -> None:
    def packed(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serves(packed) as server, pytest.raises(ServiceError, match="gzip"):
        got(connections, server.address)
    assert server.headers[0]["Accept-Encoding"] == "identity"


def test_an_address_that_was_not_encoded_is_and_one_that_was_stays(
    connections: Connections,
) -> None:
    with serves(whole) as server:
        got(connections, f"{server.address}/ä b?c=%2F&d=e%20f#g")
    assert server.lines == ["GET /%C3%A4%20b?c=%2F&d=e%20f HTTP/1.1"]


def test_the_proxy_of_the_environment_is_asked_with_its_password(
    connections: Connections, environment: pytest.MonkeyPatch
) -> None:
    with serves(whole) as proxy:
        environment.setenv("http_proxy", proxy.address.replace("://", "://us%20er:secret@"))
        assert got(connections, "http://nowhere.invalid/a?b") == BODY
    assert proxy.lines == ["GET http://nowhere.invalid/a?b HTTP/1.1"]
    expected = base64.b64encode(b"us er:secret").decode()
    assert proxy.headers[0]["Proxy-Authorization"] == f"Basic {expected}"


def test_tls_goes_through_a_tunnel_of_the_proxy(
    connections: Connections, environment: pytest.MonkeyPatch
) -> None:
    def refuses(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_error(403)

    with serves(refuses) as proxy:
        environment.setenv("all_proxy", proxy.address.replace("://", "://user:secret@"))
        with pytest.raises(OSError, match="403"):
            got(connections, "https://nowhere.invalid/a")
    assert proxy.lines[0].startswith("CONNECT nowhere.invalid:443 ")
    assert proxy.headers[0]["Proxy-Authorization"]
    assert proxy.headers[0]["Authorization"] is None


def test_what_no_proxy_names_is_asked_directly(
    connections: Connections, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("http_proxy", f"http://{serving.HOST}:{free_port()}")
    with serves(whole) as server:
        with pytest.raises(ConnectionRefusedError):
            got(connections, server.address)
        environment.setenv("no_proxy", serving.HOST)
        assert got(connections, server.address) == BODY


@pytest.mark.parametrize("proxy", ["::::", "socks5://secret@h:1", "https://secret@h", "http://"])
def test_a_proxy_that_cannot_be_used_is_a_fault_of_the_configuration(
    connections: Connections, environment: pytest.MonkeyPatch, proxy: str
) -> None:
    environment.setenv("http_proxy", proxy)
    with pytest.raises(ConfigError, match="proxy") as caught:
        got(connections, "http://nowhere.invalid/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["ftp://h/x", "/x", "http:///x"])
def test_what_is_no_address_of_http_is_an_error(connections: Connections, address: str) -> None:
    with pytest.raises(ServiceError, match="neither"):
        got(connections, address)


def test_certificates_that_are_not_there_are_told(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        Connections(NetworkSettings(), None)
