"""Our Cloud Storage answers its clients as they expect: JSON by Google's own, XML by obstore."""

import asyncio
import base64
import contextlib
import gzip
import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any

import obstore
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.oauth2 import service_account
from obstore import exceptions as xml_exceptions
from obstore.store import GCSStore

from kaiwo import checksums
from kaiwo.testing import ODD_NAMES
from tests import servers
from tests.servers import upload

TOKEN = "ya29.right"
LARGE = random.Random(7).randbytes(3_000_000)
PLAIN = b"plain text " * 1_000
PACKED = gzip.compress(PLAIN)


@pytest.fixture(scope="module")
def settings() -> Iterator[Mapping[str, str]]:
    """Of a server that is open, with two entries in a page."""
    with servers.start("gcs_standin", "--page-size=2") as server:
        yield server.settings


@pytest.fixture(scope="module")
def guarded() -> Iterator[Mapping[str, str]]:
    """Of a server that wants a token, with an object in a bucket."""
    with servers.start("gcs_standin", f"--token={TOKEN}") as server:
        url, bearer = server.settings["endpoint_url"], {"Authorization": f"Bearer {TOKEN}"}
        assert answer(f"{url}/storage/v1/b", "POST", b'{"name": "b"}', bearer).status == 200
        assert answer(f"{url}/b/k", "PUT", b"data", bearer).status == 200
        yield server.settings


@pytest.fixture
def client(settings: Mapping[str, str]) -> Iterator[Any]:
    with json_client(settings["endpoint_url"]) as client:
        yield client


@pytest.fixture
def bucket(client: Any, request: pytest.FixtureRequest) -> Any:
    """A new one, as the JSON interface sees it."""
    name: str = request.node.name.lower()
    return client.create_bucket(name)


def json_client(url: str, credentials: Any = None) -> Any:
    credentials = credentials or AnonymousCredentials()
    at = {"api_endpoint": url}
    return contextlib.closing(Client("kaiwo-test", credentials=credentials, client_options=at))


def xml_store(url: str, bucket: str, accept: str = "", **given: Any) -> Any:
    """Anonymous, if no token or provider of tokens is given; each request is made once."""
    provider = given.pop("credential_provider", None)
    config: Any = {"base_url": url, "skip_signature": not (given or provider), **given}
    return GCSStore(
        bucket,
        config=config,
        client_options={
            "allow_http": True,
            "default_headers": {"accept-encoding": accept} if accept else {},
        },
        retry_config={"max_retries": 0},
        credential_provider=provider,
    )


def xml_of(bucket: Any, accept: str = "") -> Any:
    return xml_store(bucket.client.api_endpoint, bucket.name, accept)


def xml_names(store: Any) -> list[str]:
    return [found["path"] for page in obstore.list(store) for found in page]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes


def answer(
    url: str, method: str = "GET", data: bytes | None = None, headers: Mapping[str, str] = {}
) -> Answer:
    """What the server says to a client that unpacks nothing."""
    request = urllib.request.Request(url, data, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request) as got:
            return Answer(got.status, got.headers, got.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


# --- names and pages --------------------------------------------------------------------------


def test_odd_names_are_listed_in_pages_and_read_by_both(settings: Any, bucket: Any) -> None:
    objects = {name: name.encode() for name in ODD_NAMES}
    upload.upload_gcs(settings, bucket.name, objects)
    pages = [[blob.name for blob in page] for page in bucket.list_blobs().pages]
    count = len(objects)
    assert [len(page) for page in pages] == [2] * (count // 2) + [1] * (count % 2)
    store = xml_of(bucket)
    assert [name for page in pages for name in page] == xml_names(store) == sorted(objects)
    assert {name: bucket.blob(name).download_as_bytes() for name in objects} == objects
    assert {name: bytes(obstore.get(store, name).bytes()) for name in objects} == objects


def test_a_folder_comes_once_though_it_fills_pages(settings: Any, bucket: Any) -> None:
    names = ["a", *(f"d/{number}" for number in range(5)), "d/e/f", "z"]
    upload.upload_gcs(settings, bucket.name, dict.fromkeys(names, b"x"))
    listed = bucket.list_blobs(delimiter="/")
    assert [blob.name for blob in listed] == ["a", "z"]
    assert listed.prefixes == {"d/"}
    below = obstore.list_with_delimiter(xml_of(bucket), "d")
    assert [found["path"] for found in below["objects"]] == names[1:6]
    assert below["common_prefixes"] == ["d/e"]


def test_asked_for_fields_come_alone(settings: Any, bucket: Any) -> None:
    upload.upload_gcs(settings, bucket.name, {"k": b"data"})
    at = f"{settings['endpoint_url']}/storage/v1/b/{bucket.name}/o"
    told = json.loads(answer(f"{at}?fields=nextPageToken,items(name,size)").body)
    assert told == {"items": [{"name": "k", "size": "4"}]}
    assert json.loads(answer(f"{at}/k?fields=size").body) == {"size": "4"}


# --- bytes ------------------------------------------------------------------------------------


def test_large_uploads_arrive_in_pieces_and_ranges_of_them_at_once(bucket: Any) -> None:
    blob = bucket.blob("large", chunk_size=256 << 10)
    blob.upload_from_string(LARGE)
    spans = [(start, min(start + 100_001, len(LARGE))) for start in range(0, len(LARGE), 100_001)]
    store = xml_of(bucket)

    async def one(start: int, end: int) -> bytes:
        got = await obstore.get_async(store, "large", options={"range": (start, end)})
        return bytes(await got.bytes_async())

    async def every() -> bytes:
        return b"".join(await asyncio.gather(*(one(*span) for span in spans)))

    assert asyncio.run(every()) == LARGE
    assert blob.download_as_bytes(start=7, end=2_000_000) == LARGE[7:2_000_001]


def test_ranges_may_be_open_and_must_begin_inside(settings: Any, bucket: Any) -> None:
    upload.upload_gcs(settings, bucket.name, {"k": b"0123456789"})
    at = f"{settings['endpoint_url']}/{bucket.name}/k"

    def ranged(asked: str) -> tuple[int, bytes]:
        got = answer(at, headers={"Range": f"bytes={asked}"})
        return got.status, got.body if got.status < 400 else b""

    assert ranged("3-") == (206, b"3456789")
    assert ranged("-3") == (206, b"789")
    assert ranged("8-20") == (206, b"89")
    assert ranged("4-2") == (200, b"0123456789")
    assert ranged("10-") == (416, b"")


def test_checksums_are_those_of_the_bytes_and_composite_objects_have_no_md5(bucket: Any) -> None:
    pieces = [bucket.blob(name) for name in ("one", "two")]
    for piece in pieces:
        piece.upload_from_string(piece.name)
    whole = bucket.blob("whole")
    whole.compose(pieces)
    whole.reload()
    assert (whole.md5_hash, whole.component_count) == (None, 2)
    for blob, data in ((pieces[0], b"one"), (whole, b"onetwo")):
        assert checksums.of_bytes("crc32c", data) == checksums.stated("crc32c", blob.crc32c)
        assert blob.download_as_bytes() == data
    etags = {
        found["path"]: found["e_tag"] or ""
        for page in obstore.list(xml_of(bucket))
        for found in page
    }
    assert etags["one"].strip('"') == base64.b64decode(pieces[0].md5_hash).hex()
    assert etags["whole"].startswith('"-')


# --- generations ------------------------------------------------------------------------------


def test_a_replaced_generation_is_gone(bucket: Any) -> None:
    blob, store = bucket.blob("k"), xml_of(bucket)
    blob.upload_from_string(b"old")
    old = obstore.head(store, "k")
    assert old["version"] == str(blob.generation)
    pinned: Any = {"range": (1, 2), "version": old["version"]}
    assert bytes(obstore.get(store, "k", options=pinned).bytes()) == b"l"
    bucket.blob("k").upload_from_string(b"new")
    with pytest.raises(FileNotFoundError, match=f"NoSuchKey.*#{old['version']}"):
        obstore.get(store, "k", options=pinned)
    with pytest.raises(xml_exceptions.PreconditionError):
        obstore.get(store, "k", options={"if_match": old["e_tag"]})
    with pytest.raises(exceptions.NotFound, match="No such object"):
        bucket.blob("k", generation=old["version"]).download_as_bytes()
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("k").download_as_bytes(if_generation_match=blob.generation)
    condition = {"x-goog-if-generation-match": old["version"]}
    assert answer(blob.public_url, headers=condition).status == 412


def test_a_versioned_bucket_keeps_what_was_replaced(client: Any, settings: Any) -> None:
    bucket = client.bucket("versioned")
    bucket.versioning_enabled = True
    bucket.create()
    blob, store = bucket.blob("k"), xml_of(bucket)
    blob.upload_from_string(b"old")
    old: Any = {"version": str(blob.generation)}
    bucket.blob("k").upload_from_string(b"new")
    assert bytes(obstore.get(store, "k", options=old).bytes()) == b"old"
    assert bucket.blob("k").download_as_bytes() == b"new"
    bucket.blob("k").delete()
    assert xml_names(store) == []
    assert bucket.blob("k", generation=blob.generation).download_as_bytes() == b"old"


# --- errors and tokens ------------------------------------------------------------------------


def test_what_is_missing_is_told_in_the_words_of_each_interface(settings: Any, bucket: Any) -> None:
    url = settings["endpoint_url"]
    for name, code in ((bucket.name, "NoSuchKey"), ("none", "NoSuchBucket")):
        with pytest.raises(FileNotFoundError, match=code):
            obstore.get(xml_store(url, name), "k")
        told = json.loads(answer(f"{url}/storage/v1/b/{name}/o/k").body)["error"]
        assert (told["code"], told["errors"][0]["reason"]) == (404, "notFound")
    with pytest.raises(xml_exceptions.GenericError, match=r"404.*NoSuchBucket"):
        list(obstore.list(xml_store(url, "none")))


@pytest.mark.parametrize(
    ("sent", "statuses", "error"),
    [
        ({}, (401, 403), xml_exceptions.PermissionDeniedError),
        ({"bearer_token": "wrong"}, (401, 401), xml_exceptions.UnauthenticatedError),
    ],
)
def test_without_the_token_nothing_is_told(
    guarded: Any, sent: dict[str, str], statuses: tuple[int, int], error: type[Exception]
) -> None:
    url = guarded["endpoint_url"]
    headers = {"Authorization": "Bearer wrong"} if sent else {}
    paths = ("storage/v1/b/b/o", "b/k")
    assert tuple(answer(f"{url}/{path}", headers=headers).status for path in paths) == statuses
    store = xml_store(url, "b", **sent)
    with pytest.raises(error):
        obstore.get(store, "k")
    with pytest.raises(xml_exceptions.GenericError, match=str(statuses[1])):
        list(obstore.list(store))


def test_the_token_opens_both_interfaces(guarded: Any) -> None:
    url, until = guarded["endpoint_url"], datetime.now(UTC) + timedelta(hours=1)
    provided = xml_store(
        url, "b", credential_provider=lambda: {"token": TOKEN, "expires_at": until}
    )
    for store in (provided, xml_store(url, "b", bearer_token=TOKEN)):
        assert bytes(obstore.get(store, "k").bytes()) == b"data"
    account = service_account.Credentials.from_service_account_file(guarded["service_account_file"])
    with json_client(url, account) as client:
        assert client.bucket("b").blob("k").download_as_bytes() == b"data"
    assert answer(f"{url}/token", "POST", b"grant_type=password").status == 400


# --- transcoding ------------------------------------------------------------------------------


def test_packed_objects_are_unpacked_as_a_whole_for_who_does_not_accept_gzip(bucket: Any) -> None:
    blob = bucket.blob("packed")
    blob.content_encoding = "gzip"
    blob.upload_from_string(PACKED)
    blob.reload()
    assert (blob.content_encoding, blob.size) == ("gzip", len(PACKED))
    for url in (blob.media_link, blob.public_url):
        got = answer(url, headers={"Range": "bytes=0-9"})
        assert (got.status, got.body) == (200, PLAIN)
        assert got.headers["Transfer-Encoding"] == "chunked"
        assert got.headers["Warning"] == "214 UploadServer gunzipped"
        assert "Content-Length" not in got.headers
        assert "Content-Encoding" not in got.headers
        got = answer(url, headers={"Range": "bytes=0-9", "Accept-Encoding": "gzip"})
        assert (got.status, got.body) == (206, PACKED[:10])
        assert (got.headers["Content-Encoding"], got.headers["Vary"]) == ("gzip", "Accept-Encoding")


def test_obstore_reads_packed_objects_only_if_it_accepts_them_packed(bucket: Any) -> None:
    at = f"{bucket.client.api_endpoint}/{bucket.name}/packed"
    assert answer(at, "PUT", PACKED, {"Content-Encoding": "gzip"}).status == 200
    with pytest.raises(xml_exceptions.GenericError, match="Content-Length"):
        obstore.get(xml_of(bucket), "packed")
    got = obstore.get(xml_of(bucket, "gzip"), "packed", options={"range": (2, 9)})
    assert bytes(got.bytes()) == PACKED[2:9]
    assert got.meta["size"] == len(PACKED)
