"""Secret files that change during a run: a refused request is repeated once."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import kaiwo
from kaiwo.config.document import Document
from kaiwo.config.loader import build
from kaiwo.errors import ConfigError, CredentialsError, NotAllowedYetError
from kaiwo.events import Event, Planned
from kaiwo.jobs import ListJob, Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import Report
from kaiwo.tasks.base import Context, Engine
from kaiwo.workers import source_cache
from kaiwo.workers.list_objects import Found, run
from tests.servers import serving
from tests.support import certificates, stores
from tests.support.command import tree
from tests.support.faulty import FaultyStore
from tests.support.stores import Store

OLD, NEW = "OLDACCESSKEY0001", "NEWACCESSKEY0002"
OBJECTS = {"k": b"data", "d/b c": b"more"}
ALL = [{"folder": "", "target_path": "."}]


# --- what a worker keeps open -----------------------------------------------------------------


@dataclass(eq=False)
class Mounted:
    """An opener of sources in memory, whose secrets a test changes."""

    secrets: bytes = b"first"
    sources: list[FaultyStore] = field(default_factory=list)
    fault: Exception | None = None
    origin: str = "mounted://host"
    ambient: str = ""

    @property
    def service(self) -> str:
        """See ``protocols.Opener``."""
        return self.origin

    def open(self) -> FaultyStore:
        """See ``protocols.Opener``."""
        if self.fault is not None:
            raise self.fault
        self.sources.append(FaultyStore())
        return self.sources[-1]

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``."""
        return self.secrets

    def url(self, key: str, version: str | None = None) -> str:  # noqa: ARG002 - the seam
        """See ``protocols.Opener``."""
        return f"mounted://{key}"


@pytest.fixture
def mounted() -> Iterator[Mounted]:
    """An opener that is let go of in the end."""
    opener = Mounted()
    yield opener
    source_cache.close_source(opener)


def test_a_refused_source_is_opened_anew_only_if_its_secrets_have_changed(mounted: Mounted) -> None:
    first = source_cache.open_source(mounted)
    assert not source_cache.reopen(mounted, first)
    mounted.secrets = b"second"
    assert source_cache.reopen(mounted, first)
    second = source_cache.open_source(mounted)
    assert second is not first
    assert not source_cache.reopen(mounted, second)
    assert len(mounted.sources) == 2


def test_many_threads_that_are_refused_at_once_open_one_source(mounted: Mounted) -> None:
    first = source_cache.open_source(mounted)
    mounted.secrets = b"second"
    together = threading.Barrier(16)

    def refused(_: int) -> bool:
        together.wait(20)
        return source_cache.reopen(mounted, first)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(refused, range(16)))
    assert len(mounted.sources) == 2


def test_a_retired_source_goes_on_until_the_run_ends(mounted: Mounted) -> None:
    first = source_cache.open_source(mounted)
    mounted.secrets = b"second"
    source_cache.reopen(mounted, first)
    assert [source.closed for source in mounted.sources] == [0, 0]
    source_cache.close_source(mounted)
    assert [source.closed for source in mounted.sources] == [1, 1]
    assert not source_cache.reopen(mounted, first)


def test_secrets_that_cannot_be_used_leave_what_there_is(mounted: Mounted) -> None:
    first = source_cache.open_source(mounted)
    mounted.secrets, mounted.fault = b"half-writ", ConfigError("it is empty")
    assert not source_cache.reopen(mounted, first)
    assert source_cache.open_source(mounted) is first
    mounted.secrets, mounted.fault = b"written", None
    assert source_cache.reopen(mounted, first)


# --- tasks -------------------------------------------------------------------------------------


def want_of(task: dict[str, Any], engine: Engine = "auto") -> Want:
    """What a task's only item asks for."""
    config = build(Document("test", {"download_items": [task]}), {})
    context = Context("/nowhere", NetworkSettings(stall_timeout_s=10), engine, lambda _: "test")
    (want,) = config.tasks[0].wants(context)
    return want


def test_a_stamp_tells_other_secrets_and_not_the_secrets(tmp_path: Path) -> None:
    key, secret = tmp_path / "key", tmp_path / "secret"
    key.write_text("KEY")
    secret.write_text("SECRET")
    files = {"access_key_id_file": str(key), "secret_key_file": str(secret)}
    bucket = {"name": "b", "items": ALL}
    opener = want_of({"type": "s3", "buckets": [bucket], **files}).opener
    stamps = [opener.secrets_digest()]
    for path, content in ((secret, "OTHER"), (key, "KEYOTHER"), (secret, "")):
        path.write_text(content)
        stamps.append(opener.secrets_digest())
    secret.unlink()
    stamps.append(opener.secrets_digest())
    assert len(set(stamps)) == 5
    secret.write_text("SECRET\n")  # a trailing newline is no part of the secret
    key.write_text("KEY")
    assert opener.secrets_digest() == stamps[0]
    assert not any(b"SECRET" in secrets_digest for secrets_digest in stamps)


@dataclass(frozen=True)
class Rotated:
    """A task whose secret is in a file.

    Attributes:
        store: that checks it.
        fields: of the task, without the file's.
        name: of the field, without ``_file``.
        wrong: of the right form.
        right: what the store accepts.
    """

    store: Store
    fields: dict[str, Any]
    name: str
    wrong: str
    right: str

    def task(self, file: Path, items: list[dict[str, str]]) -> dict[str, Any]:
        """For a bucket with objects, with the wrong secret in that file."""
        file.write_text(self.wrong)
        fields = {**self.fields, f"{self.name}_file": str(file)}
        return self.store.task(self.store.new_bucket(OBJECTS), items, **fields)


def of_s3(request: pytest.FixtureRequest) -> Rotated:
    store: Store = request.getfixturevalue("s3_signed")
    right = store.settings["secret_key"]
    return Rotated(store, {"secret_key": None}, "secret_key", "w" * len(right), right)


def of_azure(request: pytest.FixtureRequest) -> Rotated:
    store: Store = request.getfixturevalue("azure")
    names = ("account_name", "endpoint_url")
    fields = {"connection_string": None} | {name: store.settings[name] for name in names}
    right = store.settings["account_key"]
    return Rotated(store, fields, "account_key", "d3Jvbmc=", right)


def of_gcs(request: pytest.FixtureRequest) -> Rotated:
    store: Store = request.getfixturevalue("gcs")
    right = Path(store.settings["service_account_file"]).read_text(encoding="utf-8")
    wrong = json.dumps({**json.loads(right), "private_key": certificates.rsa_key()})
    name = "application_credentials"
    return Rotated(store, {f"{name}_file": None}, name, wrong, right)


@pytest.fixture(scope="module")
def hub_with_token() -> Iterator[Store]:
    """A Hub that one token gets into."""
    with stores.hub("--token=hf_TheRightTokenOfTheTest") as store:
        yield store


def of_hub(request: pytest.FixtureRequest) -> Rotated:
    store: Store = request.getfixturevalue("hub_with_token")
    fields = {"token": None, "target_path": "."}
    return Rotated(store, fields, "token", "hf_TheWrongToken", store.settings["token"])


@pytest.mark.parametrize(
    ("of", "engine"),
    [
        (of_s3, "fsspec"),
        (of_s3, "obstore"),
        (of_azure, "fsspec"),
        (of_azure, "obstore"),
        (of_gcs, "fsspec"),
        (of_gcs, "obstore"),
        (of_hub, "auto"),
    ],
)
@pytest.mark.parametrize("items", [ALL, [{"file": "k", "target_path": "k"}]], ids=["all", "one"])
def test_what_was_refused_is_listed_with_the_secret_that_is_there_by_then(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    of: Callable[[pytest.FixtureRequest], Rotated],
    engine: Engine,
    items: list[dict[str, str]],
) -> None:
    rotated, file = of(request), tmp_path / "secret"
    want = want_of(rotated.task(file, items), engine)
    try:
        assert isinstance(run(ListJob(0, want)).error, CredentialsError)
        file.write_text(rotated.right)
        found = run(ListJob(0, want))
        assert found == Found(found.objects)
        assert {each.key for each in found.objects} >= {"k"}
        file.write_text(rotated.wrong)
        assert run(ListJob(0, want)) == found  # what is open and accepted is kept
    finally:
        source_cache.close_source(want.opener)


# --- a whole run -------------------------------------------------------------------------------


class Keyed:
    """S3 that takes requests of one access key only, which changes.

    The signatures are not looked at: moto, which is behind it, does that elsewhere.
    """

    def __init__(self) -> None:
        self.key = OLD
        self.taken: list[str] = []

    @contextlib.contextmanager
    def serving(self, store: Store) -> Iterator[Store]:
        """The store, by way of a server that looks at who asks."""
        keyed, upstream = self, urlsplit(store.settings["endpoint_url"]).netloc

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                if f"Credential={keyed.key}/" not in self.headers.get("Authorization", ""):
                    body = b"<Error><Code>InvalidAccessKeyId</Code></Error>"
                    return self.answer(403, {"Content-Type": "application/xml"}, body)
                keyed.taken.append(keyed.key)
                connection = http.client.HTTPConnection(upstream, timeout=30)
                with contextlib.closing(connection):
                    connection.request(self.command, self.path, None, dict(self.headers.items()))
                    got = connection.getresponse()
                    hop = ("connection", "date", "server", "transfer-encoding")
                    kept = {k: v for k, v in got.getheaders() if k.lower() not in hop}
                    return self.answer(got.status, kept, got.read())

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in ({"Content-Length": f"{len(body)}"} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = pass_on  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Requests are not logged."""

        listener = http.server.ThreadingHTTPServer((serving.HOST, 0), Handler)
        with serving.in_thread(listener):
            address = f"http://{serving.HOST}:{listener.server_port}"
            yield replace(store, fields={**store.fields, "endpoint_url": address})


@dataclass
class AtThePlan:
    """A sink that does something once the plan is closed: all is listed, nothing is read."""

    do: Callable[[], None]

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if isinstance(event, Planned):
            self.do()


def run_with_rotation(
    s3: Store, tmp_path: Path, engine: Engine, objects: dict[str, bytes], *, mounted: bool
) -> tuple[Report, list[str]]:
    """Download while the key changes; its file follows only if ``mounted``."""
    keyed, file = Keyed(), tmp_path / "key"
    file.write_text(OLD)

    def rotate() -> None:
        keyed.key = NEW
        if mounted:
            file.write_text(NEW)

    with keyed.serving(s3) as store:
        fields = {"access_key_id": None, "access_key_id_file": str(file)}
        task = store.task(store.new_bucket(objects), ALL, **fields)
        config = {"download_root": str(tmp_path / "out"), "download_items": [task]}
        report = kaiwo.download(config, sink=AtThePlan(rotate), engine=engine, retries=0)
    return report, keyed.taken


READING = {"large": bytes(range(256)) * 4096 * 20} | {f"small/{n}": b"%d" % n for n in range(200)}


def test_a_run_goes_on_when_its_keys_change_between_listing_and_reading(
    s3: Store, tmp_path: Path, engine: Engine
) -> None:
    report, taken = run_with_rotation(s3, tmp_path, engine, READING, mounted=True)
    assert report.ok, report.items[0]
    assert tree(tmp_path / "out") == READING
    assert taken.index(NEW) == taken.count(OLD)


def test_keys_that_change_at_the_service_only_are_refused(
    s3: Store, tmp_path: Path, engine: Engine
) -> None:
    report, taken = run_with_rotation(s3, tmp_path, engine, {"k": b"data"}, mounted=False)
    assert report.exit_code == 3
    assert [type(item.error) for item in report.items] == [NotAllowedYetError]
    assert NEW not in taken
