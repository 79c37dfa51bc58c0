"""What went wrong on the wire, told alike for all SDKs: by talking to servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import email.utils
import errno
import ipaddress
import os
import pickle
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
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
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kaiwo.config import build
from kaiwo.document import Document
from kaiwo.errors import (
    CertificateError,
    ChangedError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    ServiceError,
    TransientError,
    UnreachableError,
)
from kaiwo.network import Network, chain, connection_error, retry_after_s, status_error, wire_error
from kaiwo.protocols import Source
from kaiwo.tasks.base import Context

SECRET = "hunter2"
WHAT = "reading s3://bucket/key"
TIMEOUT_S = 0.4


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


def _azure(address: str) -> None:
    with ContainerClient(
        address,
        "container",
        credential={"account_name": "account", "account_key": "aHVudGVyMg=="},
        retry_total=0,
        connection_timeout=TIMEOUT_S,
        read_timeout=TIMEOUT_S,
    ) as client:
        client.get_container_properties()


def _azure_async(address: str) -> None:
    async def ask() -> None:
        async with AsyncContainerClient(
            address,
            "container",
            credential={"account_name": "account", "account_key": "aHVudGVyMg=="},
            retry_total=0,
            connection_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
        ) as client:
            await client.get_container_properties()

    asyncio.run(ask())


def _httpx2(address: str) -> None:
    httpx2.get(address, params={"sig": SECRET}, timeout=TIMEOUT_S)


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


# --- the servers ------------------------------------------------------------------------------


@contextlib.contextmanager
def server(
    treat: Callable[[socket.socket], None], context: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Accepts connections one after the other, and treats them so; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                treat(connection)
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    scheme = "http" if context is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopping.set()
        thread.join()
        listener.close()


def resets(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resets_in_the_body(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n0123456789")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hangs_up(connection: socket.socket) -> None:
    connection.recv(65_536)


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def closed() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only its own key has signed, and that key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


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
    assert not found.retryable
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
@pytest.mark.parametrize("treat", [resets, resets_in_the_body, hangs_up])
def test_a_connection_that_is_cut_is_transient(
    sdk: Callable[[str], None], treat: Callable[[socket.socket], None]
) -> None:
    # Some SDKs hide the cause; their sources ask ``wire_error`` about what only the wire can do.
    with server(treat) as address:
        found = wire_error(raised(sdk, address), WHAT)
    assert type(found) is TransientError
    assert found.message.startswith(f"{WHAT}: ")
    assert SECRET not in found.message


@each_sdk
def test_a_reset_is_told_by_its_cause(sdk: Callable[[str], None]) -> None:
    with server(resets) as address:
        found = told(raised(sdk, address))
    assert type(found) is TransientError
    assert found.message == f"{WHAT}: {os.strerror(errno.ECONNRESET)}"


@each_sdk
def test_silence_is_transient(sdk: Callable[[str], None]) -> None:
    with silent() as address:
        error = raised(sdk, address)
    found = connection_error(error, WHAT)
    if found is None:
        assert "timeout" in type(error).__name__.lower()
        return
    assert type(told(error)) is TransientError
    assert "in time" in found.message


def test_what_is_no_error_of_the_wire_is_something_else() -> None:
    assert connection_error(ValueError("x"), WHAT) is None
    assert connection_error(FileNotFoundError(errno.ENOENT, "none", "/a"), WHAT) is None


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN])
def test_a_network_that_is_down_is_transient(number: int) -> None:
    found = told(OSError(number, "x"))
    assert type(found) is TransientError


# --- sources ----------------------------------------------------------------------------------

ITEMS = [{"folder": "", "target_path": "x"}]
BUCKETS = [{"name": "bucket", "items": ITEMS}]
TASKS: dict[str, dict[str, Any]] = {
    "s3": {
        "access_key_id": SECRET,
        "secret_key": SECRET,
        "region": "us-east-1",
        "buckets": BUCKETS,
    },
    "gcs": {"anonymous": True, "buckets": BUCKETS},
    "azure-blob": {
        "account_name": "account",
        "account_key": "aHVudGVyMg==",
        "containers": BUCKETS,
    },
    "hf": {"repo_id": "owner/repo", "token": SECRET, "target_path": "x"},
}


@contextlib.contextmanager
def source(type_: str, address: str) -> Iterator[Source]:
    """The source of a task that speaks to that address."""
    task = {"type": type_, "endpoint_url": address, **TASKS[type_]}
    config = build(Document("test", {"download_items": [task]}), {})
    context = Context("/nowhere", Network(TIMEOUT_S, TIMEOUT_S), "fsspec", lambda _: "test")
    (want,) = config.tasks[0].wants(context)
    opened = want.opener.open()
    try:
        yield opened
    finally:
        opened.close()


each_type = pytest.mark.parametrize("type_", TASKS)


@each_type
@pytest.mark.parametrize("treat", [resets, resets_in_the_body, hangs_up])
def test_every_source_takes_a_connection_that_is_cut_for_transient(
    type_: str, treat: Callable[[socket.socket], None]
) -> None:
    with server(treat) as address, source(type_, address) as opened:
        with pytest.raises(TransientError) as caught:
            list(opened.list(""))
        assert type(caught.value) is TransientError
        assert SECRET not in caught.value.message


@each_type
def test_every_source_names_a_certificate_that_nobody_trusts(type_: str, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with (
        server(lambda _: None, context) as address,
        source(type_, address) as opened,
        pytest.raises(CertificateError, match="self-signed"),
    ):
        list(opened.list(""))


@each_type
def test_every_source_waits_for_a_service_that_is_not_up(type_: str) -> None:
    with source(type_, closed()) as opened, pytest.raises(UnreachableError):
        list(opened.list(""))


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
    assert type(told(error)) is TransientError


# --- HTTP -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ServiceError),
        (401, CredentialsError),
        (403, CredentialsError),
        (404, NotFoundError),
        (405, ServiceError),
        (407, CredentialsError),
        (408, TransientError),
        (409, ChangedError),
        (410, NotFoundError),
        (412, ChangedError),
        (416, ChangedError),
        (425, TransientError),
        (429, TransientError),
        (451, ServiceError),
        (500, TransientError),
        (502, TransientError),
        (503, TransientError),
        (504, TransientError),
        (599, TransientError),
    ],
)
def test_each_status_is_its_kind_of_error(status: int, kind: type[KaiwoError]) -> None:
    error = status_error(status, WHAT, "TheirCode")
    assert type(error) is kind
    assert error.message.startswith(f"{WHAT}: {status} TheirCode")
    assert status_error(status, WHAT).message.startswith(f"{WHAT}: {status}")


@pytest.mark.parametrize("status", [429, 503])
def test_the_services_wish_to_wait_is_kept(status: int) -> None:
    error = status_error(status, WHAT, headers={"retry-after": "7"})
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("7", 7), (" 120 ", 120), ("-5", None), ("soon", None), ("", None)],
)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_retry_after_may_be_a_number(name: str, value: str, seconds: float | None) -> None:
    assert retry_after_s({"Other": "1", name: value}) == seconds


@pytest.mark.parametrize("value", ["inf", "infinity", "1e999", "nan"])
def test_retry_after_is_never_forever(value: str) -> None:
    # RFC 9110, 10.2.3: digits. float() takes more, and a delay without end hangs the run.
    assert retry_after_s({"Retry-After": value}) in (None, 0)


def test_retry_after_may_be_a_date() -> None:
    soon = email.utils.formatdate(time.time() + 60, usegmt=True)
    found = retry_after_s({"Retry-After": soon})
    assert found is not None
    assert 55 < found <= 60
    past = email.utils.formatdate(time.time() - 60, usegmt=True)
    assert retry_after_s({"Retry-After": past}) == 0


@pytest.mark.parametrize(
    "value", ["Mon, 99 Foo 2026 00:00:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT"]
)
def test_retry_after_as_a_broken_date_is_ignored(value: str) -> None:
    assert retry_after_s({"Retry-After": value}) is None


def test_without_retry_after_there_is_no_wish() -> None:
    assert retry_after_s({}) is None
