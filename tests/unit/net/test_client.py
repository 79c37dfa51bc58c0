"""The HTTP client: what is sent, by which way, and what comes of odd answers."""

from __future__ import annotations

import base64
import contextlib
import gc
import gzip
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message

import pytest
from urllib3.exceptions import HTTPError

from kaiwo.errors import ConfigError, ServiceError, TransientError, UnfinishedError
from kaiwo.net import certificates
from kaiwo.net.answers import Answer
from kaiwo.net.client import Client
from kaiwo.net.failures import chain, wire_error
from kaiwo.net.redirects import Credentials, RedirectError, origin_of
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import RefusedError
from tests.servers import free_port, serving
from tests.support.broken_servers import server as raw_server

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

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.lines.append(self.requestline)
            server.headers.append(self.headers)
            server.clients.append(self.client_address[1])
            handle(self)

        do_CONNECT = do_GET  # noqa: N815 - the library's name

    server = Server("")
    with serving.listening(Handler) as server.address:
        yield server


def answers(status: int = 200, headers: dict[str, str] | None = None, body: bytes = BODY) -> Handle:
    """A handler that always answers so."""

    def handle(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return handle


whole = answers()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)
    return monkeypatch


@pytest.fixture
def client() -> Iterator[Client]:
    with contextlib.closing(made()) as found:
        yield found


def made(credentials: Credentials | None = None) -> Client:
    return Client(
        NetworkSettings(stall_timeout_s=10), lambda: certificates.context(None), credentials
    )


def got(client: Client, address: str, size: int = len(BODY)) -> bytes:
    with client.request("GET", address) as answer:
        return bytes(answer.take(size))


# --- connections --------------------------------------------------------------------------------


def test_one_connection_serves_requests_one_after_the_other(client: Client) -> None:
    with serves(whole) as server:
        assert [got(client, f"{server.address}/{n}") for n in range(3)] == [BODY] * 3
    assert len(set(server.clients)) == 1


def test_certificates_are_read_for_the_first_connection_with_tls() -> None:
    read: list[ssl.SSLContext] = []

    def trust() -> ssl.SSLContext:
        read.append(certificates.context(None))
        return read[0]

    with serves(whole) as server, contextlib.closing(Client(NetworkSettings(), trust)) as client:
        assert got(client, server.address) == BODY
        assert not read
        with pytest.raises(HTTPError):
            got(client, server.address.replace("http:", "https:"))
        assert len(read) == 1


def test_a_body_that_nobody_read_costs_a_new_connection_and_spoils_nothing(client: Client) -> None:
    with serves(whole) as server:
        with client.request("GET", server.address):
            pass
        assert got(client, server.address) == BODY
    assert len(set(server.clients)) == 2


def test_a_connection_that_the_server_has_closed_meanwhile_is_replaced(client: Client) -> None:
    ended = threading.Event()

    def once(handler: http.server.BaseHTTPRequestHandler) -> None:
        whole(handler)
        handler.close_connection = True  # without a word in the headers
        handler.wfile.flush()
        handler.connection.shutdown(2)
        ended.set()

    with serves(once) as server:
        for _ in range(3):
            assert got(client, server.address) == BODY
            assert ended.wait(10)
            ended.clear()


def test_a_connection_that_the_server_closes_at_the_next_request_is_replaced(
    client: Client,
) -> None:
    """The server reads the second request of each connection, and says nothing."""
    seen = set[int]()

    def only_once(handler: http.server.BaseHTTPRequestHandler) -> None:
        if handler.client_address[1] in seen:
            handler.close_connection = True
            return
        seen.add(handler.client_address[1])
        whole(handler)

    with serves(only_once) as server:
        assert [got(client, server.address) for _ in range(3)] == [BODY] * 3
    assert len(server.lines) == 5


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_a_body_after_a_head_is_not_taken_for_the_next_answer(
    client: Client, pause_s: float
) -> None:
    """The client finds it before the next request, or in place of the answer to that."""

    def treat(connection: socket.socket) -> None:
        while request := connection.recv(65_536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            time.sleep(pause_s)
            connection.sendall(b"data")
            if request.startswith(b"HEAD"):
                time.sleep(pause_s)

    with raw_server(treat) as address:
        for _ in range(3):
            with client.request("HEAD", address) as answer:
                assert answer.status == 200
            assert got(client, address, 4) == b"data"


def test_a_stream_and_an_answer_of_an_api_that_are_cut_are_failures(client: Client) -> None:
    def treat(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata")

    with raw_server(treat) as address:
        for read in (lambda answer: b"".join(answer.chunks(3)), Answer.body):
            with pytest.raises(HTTPError) as caught, client.request("GET", address) as answer:
                read(answer)
            assert "connection lost" in wire_error(caught.value, "reading").message


def test_what_is_no_http_is_said(client: Client) -> None:
    def treat(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"220 smtp.example ready\r\n")

    with raw_server(treat) as address, pytest.raises(HTTPError) as caught:
        got(client, address)
    assert "not valid HTTP" in wire_error(caught.value, "reading").message


def test_a_new_connection_without_an_answer_is_a_failure(client: Client) -> None:
    def hangs_up(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    with serves(hangs_up) as server, pytest.raises(HTTPError) as caught:
        got(client, server.address)
    assert len(server.lines) == 1
    assert isinstance(wire_error(caught.value, "reading"), TransientError)


def test_small_refusals_keep_their_connection(client: Client) -> None:
    with serves(answers(404, body=b"none!")) as server:
        for _ in range(2):
            with pytest.raises(RefusedError):
                got(client, server.address)
    assert len(set(server.clients)) == 1


def test_a_request_that_waits_ends_when_the_client_is_closed(client: Client) -> None:
    asked, held = threading.Event(), threading.Event()

    def hold(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")  # the connection belongs to the answer alone
        handler.end_headers()
        handler.wfile.flush()
        asked.set()
        held.wait(20)

    def close() -> None:
        assert asked.wait(10)
        client.close()

    with serves(hold) as server:
        closing = threading.Thread(target=close)
        closing.start()
        with contextlib.suppress(UnfinishedError):
            assert got(client, server.address) == b""
        held.set()
        closing.join()
        with pytest.raises(UnfinishedError):
            got(client, server.address)


# --- requests and answers -----------------------------------------------------------------------


def test_more_than_was_asked_for_is_refused_and_less_comes_back_short(client: Client) -> None:
    with serves(whole) as server:
        with pytest.raises(TransientError, match="more than"):
            got(client, server.address, 100)
        assert got(client, server.address, len(BODY) + 1) == BODY


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("/ä b?c=%2F&d=e%20f#g", "/%C3%A4%20b?c=%2F&d=e%20f"),
        ("//a//b?c//d", "//a//b?c//d"),
        ("/%2f%2F/~", "/%2f%2F/~"),  # a signature may be of these letters
        ("/100%/50%25", "/100%25/50%25"),
        ("/a/../b/./c", "/a/../b/./c"),
        ("?x", "/?x"),
        ("", "/"),
    ],
)
def test_an_address_is_asked_as_it_was_given(client: Client, given: str, asked: str) -> None:
    with serves(whole) as server:
        got(client, server.address + given)
    assert server.lines == [f"GET {asked} HTTP/1.1"]


@pytest.mark.parametrize(
    "address", ["ftp://h/x", "/x", "http:///x", "http://h:x/", f"http://{'a' * 64}.b/"]
)
def test_what_is_no_address_of_http_is_an_error(client: Client, address: str) -> None:
    with pytest.raises(ServiceError, match="neither"):
        got(client, address)


@pytest.mark.parametrize("status", [b"103 Early Hints", b"102 Processing", b"100 Continue"])
def test_an_informational_answer_before_the_answer_is_skipped(
    client: Client, status: bytes
) -> None:
    early = b"HTTP/1.1 " + status + b"\r\nLink: </style.css>; rel=preload\r\n\r\n"

    def treat(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(2 * early + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata")

    with raw_server(treat) as address:
        assert got(client, address, 4) == b"data"


def test_informational_answers_without_end_are_a_failure(client: Client) -> None:
    def treat(connection: socket.socket) -> None:
        connection.recv(65_536)
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)

    with raw_server(treat) as address, pytest.raises(HTTPError) as caught:
        got(client, address, 4)
    assert "not valid HTTP" in wire_error(caught.value, "reading").message


@pytest.mark.parametrize("end", [b"", b"Connection: close\r\n"])
@pytest.mark.parametrize("lines", [b"Content-Length: 5, 6\r\n", b"X: " + b"x" * 70_000 + b"\r\n"])
def test_an_answer_with_odd_headers_leaves_nothing_open(
    client: Client, end: bytes, lines: bytes
) -> None:
    def treat(connection: socket.socket) -> None:
        connection.recv(65_536)
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + lines + end + b"\r\nhello")

    with raw_server(treat) as address:
        with pytest.raises(HTTPError) as caught:
            got(client, address, 6)
        assert isinstance(wire_error(caught.value, "reading"), TransientError)
    del caught
    gc.collect()  # a warning about an open socket is an error


def test_metadata_of_users_is_no_limit(client: Client) -> None:
    metadata = {f"X-Amz-Meta-{number}": "value" for number in range(300)}
    with (
        serves(answers(headers={**metadata, "ETag": '"e"'})) as server,
        client.request("GET", server.address) as answer,
    ):
        assert answer.header("etag") == '"e"'
        assert answer.take(len(BODY)) == BODY


# --- encodings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["identity", "none", "", "binary", "aws-chunked", "utf-8", "gzip"])
def test_plain_bytes_are_right_whatever_their_encoding_is_called(client: Client, word: str) -> None:
    with serves(answers(headers={"Content-Encoding": word})) as server:
        assert got(client, server.address) == BODY
        with client.request("GET", server.address) as answer:
            assert b"".join(answer.chunks(1000, len(BODY))) == BODY
    assert server.headers[0]["Accept-Encoding"] == "identity"


def test_an_encoded_body_that_becomes_the_object_is_right(client: Client) -> None:
    with serves(answers(headers={"Content-Encoding": "gzip"}, body=gzip.compress(BODY))) as server:
        assert got(client, server.address) == BODY
        with client.request("GET", server.address) as answer:
            assert b"".join(answer.chunks(1000, len(BODY))) == BODY
        with client.request("GET", server.address) as answer:
            assert answer.body() == BODY
            assert answer.plain_length is None


@pytest.mark.parametrize(
    ("word", "body", "more"),
    [
        ("gzip", gzip.compress(BODY + b"x"), {}),
        ("gzip", gzip.compress(BODY[:-1]), {}),
        ("gzip", gzip.compress(BODY)[:-9], {}),
        ("gzip", gzip.compress(bytes(1 << 26)), {}),
        ("gzip", b"no", {}),
        ("br", b"no", {}),
        ("gzip, br", b"no", {}),
        ("gzip", gzip.compress(BODY), {"Content-Range": f"bytes 0-{len(BODY) - 1}/*"}),
    ],
)
def test_an_encoded_body_that_is_not_the_object_is_refused(
    client: Client, word: str, body: bytes, more: dict[str, str]
) -> None:
    with serves(answers(headers={"Content-Encoding": word, **more}, body=body)) as server:
        with pytest.raises(ServiceError, match="-encoded although"):
            got(client, server.address)
        with (
            pytest.raises(ServiceError, match="-encoded although"),
            client.request("GET", server.address) as answer,
        ):
            b"".join(answer.chunks(1000, len(BODY)))


# --- redirects ----------------------------------------------------------------------------------


def leading(location: str) -> Handle:
    """A server whose page /a leads to a location; all other pages are there."""

    def handle(handler: http.server.BaseHTTPRequestHandler) -> None:
        page = answers(302, {"Location": location}, b"") if handler.path == "/a" else whole
        page(handler)

    return handle


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("b//c", "/b//c"),
        ("/b//c/", "/b//c/"),
        ("./b/../c?d=../e", "/c?d=../e"),
        ("{here}//b", "//b"),
        ("{here}/b/../c", "/b/../c"),
        ("?q#f", "/a?q"),
        ("/ä".encode().decode("latin-1"), "/%C3%A4"),
        ("/\xe4", "/%E4"),
        ("/b c", "/b%20c"),
    ],
)
def test_a_redirect_leads_where_it_says(client: Client, location: str, asked: str) -> None:
    def handle(handler: http.server.BaseHTTPRequestHandler) -> None:
        leading(location.replace("{here}", server.address))(handler)

    with serves(handle) as server:
        assert got(client, f"{server.address}/a") == BODY
    assert [line.split()[1] for line in server.lines] == ["/a", asked]


def test_user_info_stays_with_its_host(client: Client) -> None:
    with serves(whole) as other, serves(leading("/b")) as server, serves(whole) as third:
        address = server.address.replace("://", "://us%20er:secret@")
        credentials = Credentials(origin_of(address), {"Authorization": "Basic x"})
        with contextlib.closing(made(credentials)) as named:
            got(named, f"{address}/a")
            got(named, other.address)
        assert [each["Authorization"] for each in server.headers] == ["Basic x"] * 2
        assert other.headers[0]["Authorization"] is None
        with serves(leading(f"{third.address}/c")) as last:
            credentials = Credentials(origin_of(last.address), {"Authorization": "Basic x"})
            with contextlib.closing(made(credentials)) as named:
                got(named, f"{last.address}/a")
        assert last.headers[0]["Authorization"] == "Basic x"
        assert third.headers[0]["Authorization"] is None


def test_user_info_that_a_redirect_names_is_for_its_host(client: Client) -> None:
    with serves(whole) as other:
        named = other.address.replace("://", "://user:secret@")
        with serves(leading(f"{named}/c")) as server:
            assert got(client, f"{server.address}/a") == BODY
    assert server.headers[0]["Authorization"] is None
    expected = base64.b64encode(b"user:secret").decode()
    assert other.headers[0]["Authorization"] == f"Basic {expected}"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/a", "too many"),
        ("file:///etc/passwd", "not a web address"),
        ("http:///x", "not a web address"),
        ("http://h:port/", "invalid"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_an_error(
    client: Client, location: str, words: str
) -> None:
    with serves(leading(location)) as server, pytest.raises(RedirectError, match=words):
        got(client, f"{server.address}/a")


def test_a_redirect_that_is_not_followed_is_the_answer(client: Client) -> None:
    with (
        serves(leading("http://elsewhere.invalid/")) as server,
        client.request("GET", f"{server.address}/a", follows=lambda _: False) as answer,
    ):
        assert answer.redirect_target == "http://elsewhere.invalid/"


# --- proxies ------------------------------------------------------------------------------------


def test_the_proxy_of_the_environment_is_asked_with_its_password(
    client: Client, environment: pytest.MonkeyPatch
) -> None:
    with serves(whole) as proxy:
        environment.setenv("http_proxy", proxy.address.replace("://", "://us%20er:secret@"))
        assert got(client, "http://nowhere.invalid//a?b=%2f") == BODY
    assert proxy.lines == ["GET http://nowhere.invalid//a?b=%2f HTTP/1.1"]
    assert proxy.headers[0]["Host"] == "nowhere.invalid"
    expected = base64.b64encode(b"us er:secret").decode()
    assert proxy.headers[0]["Proxy-Authorization"] == f"Basic {expected}"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (407, "CredentialsError", "user and password"),
        (403, "ServiceError", "403: the proxy does not allow this host"),
        (503, "UnavailableError", "503: the proxy"),
        (502, "NoAnswerError", "502: the proxy"),
    ],
)
def test_what_a_proxy_answers_is_told_as_what_it_is(
    client: Client, environment: pytest.MonkeyPatch, status: int, kind: str, words: str
) -> None:
    with serves(lambda handler: handler.send_error(status)) as proxy:
        environment.setenv("all_proxy", proxy.address.replace("://", "://user:secret@"))
        with pytest.raises(HTTPError) as caught:
            got(client, "https://nowhere.invalid/a")
    found = wire_error(caught.value, "reading x")
    assert type(found).__name__ == kind
    assert found.message.startswith("reading x: ")
    assert words in found.message
    assert proxy.lines[0].startswith("CONNECT nowhere.invalid:443 ")
    assert proxy.headers[0]["Proxy-Authorization"]
    assert proxy.headers[0]["Authorization"] is None


def test_what_no_proxy_names_is_asked_directly(
    client: Client, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("http_proxy", f"http://{serving.HOST}:{free_port()}")
    with serves(whole) as server:
        with pytest.raises(HTTPError) as caught:
            got(client, server.address)
        assert any(isinstance(each, ConnectionRefusedError) for each in chain(caught.value))
        environment.setenv("no_proxy", serving.HOST)
        with contextlib.closing(made()) as another:
            assert got(another, server.address) == BODY


@pytest.mark.parametrize("proxy", ["::::", "socks5://secret@h:1", "http://"])
def test_a_proxy_that_cannot_be_used_is_a_fault_of_the_configuration(
    client: Client, environment: pytest.MonkeyPatch, proxy: str
) -> None:
    environment.setenv("http_proxy", proxy)
    with pytest.raises(ConfigError, match="proxy") as caught:
        got(client, "http://nowhere.invalid/")
    assert "secret" not in str(caught.value)
