"""Both engines end alike, whatever the bucket holds, and whatever the environment says."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import random
import shutil
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec import structs

from kaiwo.errors import (
    CertificateError,
    ChangedError,
    ConfigError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    UnreachableError,
)
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Source
from kaiwo.sources.base import NotForObstoreError
from kaiwo.sources.obstore.source import ObstoreSource
from kaiwo.tasks import s3_settings
from kaiwo.tasks.base import Engine
from kaiwo.testing import ODD_NAMES
from tests import servers
from tests.servers import serving
from tests.support import stores
from tests.support.command import Kaiwo, Run, tree
from tests.support.stores import Store

ALL = [{"folder": "", "target_path": "."}]
CANARY = "Kanarienvogel8"
ENGINES: tuple[Engine, ...] = ("fsspec", "obstore")
QUICK = ("--startup-wait", "0", "--retries", "0")
#: Nobody listens there; where a chain of credentials could look for a pod's metadata.
NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "GCE_METADATA_HOST": "127.0.0.1:1",
    "GCE_METADATA_IP": "127.0.0.1:1",
    "NO_GCE_CHECK": "true",
}
BIG = random.Random(1).randbytes(3 << 20)
OBJECTS = {"k": b"data", "d/b c": b"more", "big": BIG}

each_engine = pytest.mark.parametrize("engine", ENGINES)


# --- the choice -------------------------------------------------------------------------------


def chosen(done: Run) -> list[str]:
    """The lines that name the engine of a task or a folder."""
    return [line for line in done.stderr.splitlines() if "through " in line]


@pytest.mark.parametrize(
    ("option", "variable", "in_file", "expected"),
    [
        (None, None, None, "obstore"),
        ("auto", None, None, "obstore"),
        ("fsspec", None, None, "fsspec"),
        ("OBSTORE", None, None, "obstore"),
        (None, "fsspec", None, "fsspec"),
        (None, None, "fsspec", "fsspec"),
        (None, "obstore", "fsspec", "obstore"),
        ("fsspec", "obstore", "obstore", "fsspec"),
    ],
)
def test_the_engine_is_the_options_else_the_environments_else_the_files(
    kaiwo: Kaiwo,
    s3: Store,
    tmp_path: Path,
    option: str | None,
    variable: str | None,
    in_file: str | None,
    expected: str,
) -> None:
    config: dict[str, Any] = {"download_items": [s3.task(s3.new_bucket({"k": b"data"}), ALL)]}
    config |= {"engine": in_file} if in_file else {}
    options = ("--engine", option) if option else ()
    env = {"KAIWO_ENGINE": variable} if variable else {}
    done = kaiwo(config, *QUICK, *options, "--log-level", "DEBUG", env=env)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": b"data"}
    (line,) = chosen(done)
    assert " DEBUG " in line
    assert f"is read through {expected}, " in line


@pytest.mark.parametrize("place", ["option", "variable", "file"])
def test_an_unknown_engine_is_a_fault_of_the_configuration(
    kaiwo: Kaiwo, tmp_path: Path, place: str
) -> None:
    task = {"type": "s3", "buckets": [{"name": "bucket", "items": ALL}]}
    config: dict[str, Any] = {"download_items": [task]}
    config |= {"engine": "warp"} if place == "file" else {}
    options = ("--engine", "warp") if place == "option" else ()
    done = kaiwo(config, *options, env={"KAIWO_ENGINE": "warp"} if place == "variable" else {})
    assert (done.code, done.stdout) == (2, "")
    assert "engine" in done.stderr.lower()
    assert "obstore" in done.stderr
    assert not (tmp_path / "out").exists()


def test_at_debug_each_task_says_once_which_engine_reads_it_and_why(
    kaiwo: Kaiwo, s3: Store, azure: Store, gcs: Store, tmp_path: Path
) -> None:
    objects = {f"k{number}": b"data" * 100 for number in range(40)}
    tasks = [
        store.task(store.new_bucket(objects), [{"folder": "", "target_path": store.type}])
        for store in (s3, azure, gcs)
    ]
    done = kaiwo({"download_items": tasks}, *QUICK, "--log-level", "DEBUG")
    assert done.code == 0, done.stderr
    lines = chosen(done)
    assert len(lines) == len(tasks)
    for url in ("s3://", "az://", "gs://"):
        (line,) = (line for line in lines if url in line)
        assert "which supports all its fields" in line


def test_at_info_nothing_is_said_of_an_engine_that_can_do_it_all(
    kaiwo: Kaiwo, s3: Store, azure: Store, gcs: Store
) -> None:
    tasks = [
        store.task(store.new_bucket({"k": b"data"}), [{"folder": "", "target_path": store.type}])
        for store in (s3, azure, gcs)
    ]
    done = kaiwo({"download_items": tasks}, *QUICK)
    assert done.code == 0, done.stderr
    assert chosen(done) == []


FALLBACKS: dict[str, tuple[dict[str, bytes], dict[str, str], str]] = {
    "a stray variable": ({"k": b"1"}, {"AWS_SSE_CUSTOMER_KEY_BASE64": CANARY}, "AWS_SSE_CUSTOMER"),
    "another stray variable": (
        {"k": b"1"},
        {"aws_server_side_encryption": CANARY},
        "aws_server_side_encryption",
    ),
    "a double slash": ({"a//b": b"1", "c": b"2"}, {}, "cannot name"),
    "a leading slash": ({"/x": b"no", "y": b"2"}, {}, "begin with a slash"),
    "many empty objects": ({f"e/{n:03}": b"" for n in range(120)} | {"f": b"1"}, {}, "empty"),
}


@pytest.mark.parametrize("why", FALLBACKS)
def test_auto_falls_back_with_one_line_of_info_and_succeeds(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path, why: str
) -> None:
    objects, env, words = FALLBACKS[why]
    items = [{"folder": "", "glob": "y", "target_path": "."}] if "/x" in objects else ALL
    done = kaiwo({"download_items": [s3.task(s3.new_bucket(objects), items)]}, *QUICK, env=env)
    assert done.code == 0, done.stderr
    expected = [data for key, data in objects.items() if key != "/x"]
    assert sorted(tree(tmp_path / "out").values()) == sorted(expected)
    (line,) = chosen(done)
    assert " INFO " in line
    assert words in line
    assert CANARY not in done.stderr


def test_a_server_that_answers_ranges_oddly_is_told_of_once(
    kaiwo: Kaiwo, rclone: Store, tmp_path: Path
) -> None:
    data = random.Random(2).randbytes(40 << 20)
    done = kaiwo({"download_items": [rclone.task(rclone.new_bucket({"k": data}), ALL)]}, *QUICK)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": data}
    (line,) = chosen(done)
    assert " INFO " in line
    assert "ranges" in line


def test_a_service_that_speaks_json_only_is_told_of_once(
    kaiwo: Kaiwo, gcs_emulator: Store, tmp_path: Path
) -> None:
    objects = {f"k{number}": b"data" * number for number in range(1, 40)} | {"big": BIG}
    done = kaiwo(
        {"download_items": [gcs_emulator.task(gcs_emulator.new_bucket(objects), ALL)]}, *QUICK
    )
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == objects
    (line,) = chosen(done)
    assert " INFO " in line


@pytest.mark.parametrize(
    ("fields", "bucket", "env", "words"),
    [
        ({"endpoint_url": None, "region": None}, "bucket", {}, "region"),
        ({"endpoint_url": None, "region": "xx-nowhere-1"}, "bucket", {}, "xx-nowhere-1"),
        ({}, "data--use1-az4--x-s3", {}, "bucket name"),
        ({}, "arn:aws:s3:us-east-1:123456789012:accesspoint:mine", {}, "bucket name"),
        ({}, "bucket", {"AWS_SSE_CUSTOMER_KEY_BASE64": CANARY}, "AWS_SSE_CUSTOMER_KEY_BASE64"),
        ({"endpoint_url": None}, "bucket", {"AWS_USE_FIPS_ENDPOINT": "true"}, "use_fips_endpoint"),
    ],
)
def test_obstore_by_name_refuses_what_it_cannot_express(
    kaiwo: Kaiwo,
    s3: Store,
    tmp_path: Path,
    fields: dict[str, Any],
    bucket: str,
    env: dict[str, str],
    words: str,
) -> None:
    task = s3.task(bucket, ALL, **fields)
    done = kaiwo({"download_items": [task]}, *QUICK, "--engine", "obstore", env=NOWHERE | env)
    assert (done.code, done.stdout) == (2, ""), done.stderr
    assert "cannot be read through obstore" in done.stderr
    assert words in done.stderr
    assert CANARY not in done.stderr
    assert tree(tmp_path / "out") == {}


# --- the same end -----------------------------------------------------------------------------


def stripped(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without what may differ: durations, the order of its items, words of errors."""
    items = [
        {
            **item,
            "seconds": None,
            "error": item["error"] and item["error"]["kind"],
        }
        for item in report["items"]
    ]
    items.sort(key=lambda item: (str(item["task"]), str(item["source"]), str(item["target"])))
    return {**report, "seconds": None, "items": items}


@pytest.fixture
def compared(kaiwo: Kaiwo, tmp_path: Path) -> Kaiwo:
    """Runs tasks through both engines, and sees that they end alike."""

    def run(*tasks: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Run:
        ends = []
        for engine in ENGINES:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            config = {"download_items": list(tasks)}
            options = (*QUICK, "--engine", engine)
            done = kaiwo(config, *options, env=NOWHERE | dict(env or {}))
            assert "Traceback" not in done.stderr
            assert CANARY not in done.stdout + done.stderr + json.dumps(dict(done.report))
            ends.append((done.code, stripped(done.report), tree(tmp_path / "out")))
        assert ends[0] == ends[1]
        return done

    return run


#: What buckets hold, and what of it arrives.
SETS: dict[str, dict[str, bytes]] = {
    "ordinary": {"a": b"1", "d/b": b"22" * 5_000, "d/e/f": b"", "big": BIG, "d/big": BIG * 7},
    "odd": {f"d/{name}": name.encode() for name in ODD_NAMES},
    "empty": {f"e/{number:03}": b"" for number in range(130)} | {"f": b"1"},
    "placeholders": {"d/": b"", "d/file": b"1", "d/e/": b"", "d/e/f": b"2", "g/": b""},
    "slashes": {"a//b": b"1", "c": b"2"},
}
FILES_ONLY = ("ordinary", "odd", "empty")


def into(store: Store, name: str, objects: Mapping[str, bytes]) -> dict[str, Any]:
    """A task that puts a new bucket with these objects into a folder."""
    items = [{"folder": "", "target_path": name}]
    return store.task(store.new_bucket(objects), items, name=name)


@pytest.fixture(params=["s3", "rclone", "gcs", "azure"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each object store in turn, and a second server of S3."""
    found: Store = request.getfixturevalue(request.param)
    return found


def test_both_engines_end_with_the_same_bytes_and_report(
    compared: Kaiwo, any_store: Store, rclone: Store, tmp_path: Path
) -> None:
    names = FILES_ONLY if any_store is rclone else tuple(SETS)
    done = compared(*(into(any_store, name, SETS[name]) for name in names))
    assert done.code == 0, done.stderr
    found = tree(tmp_path / "out")
    for name in names:
        files = {key: data for key, data in SETS[name].items() if not key.endswith("/")}
        arrived = [data for path, data in found.items() if path.startswith(f"{name}/")]
        assert sorted(arrived) == sorted(files.values())
    for name in FILES_ONLY:
        for key, data in SETS[name].items():
            assert found[f"{name}/{key}"] == data


def test_both_engines_refuse_an_object_whose_name_is_also_a_folder(
    compared: Kaiwo, store: Store, tmp_path: Path
) -> None:
    done = compared(into(store, "x", {"d/n": b"", "d/n/file": b"1"}))
    assert done.code == 2, done.stderr
    assert tree(tmp_path / "out") == {}


def test_both_engines_tell_what_is_missing_alike(
    compared: Kaiwo, any_store: Store, tmp_path: Path
) -> None:
    store, bucket = any_store, any_store.new_bucket({"d/k": b"data"})
    done = compared(
        store.task("no-such-bucket", ALL, name="bucket"),
        store.task("no-such-bucket", [{"file": "k", "target_path": "1"}], name="file of bucket"),
        store.task(bucket, [{"file": "none", "target_path": "2"}], name="key"),
        store.task(bucket, [{"file": "d", "target_path": "3"}], name="folder as key"),
        store.task(bucket, [{"folder": "none", "target_path": "4"}], name="folder"),
        store.task(
            bucket, [{"folder": "none", "target_path": "5", "allow_empty": True}], name="allowed"
        ),
        store.task(bucket, [{"folder": "d", "target_path": "6"}], name="there"),
    )
    assert done.code == 4, done.stderr
    kinds = {item["task"]: item["error"] and item["error"]["kind"] for item in done.report["items"]}
    missing = ("bucket", "file of bucket", "key", "folder as key", "folder")
    assert kinds == dict.fromkeys(missing, "not found") | {"there": None}
    assert tree(tmp_path / "out") == {"6/k": b"data"}


def test_both_engines_refuse_a_key_that_is_an_absolute_path(
    compared: Kaiwo, store: Store, tmp_path: Path
) -> None:
    done = compared(into(store, "x", {"/x": b"1", "y": b"2"}))
    assert done.code == 2, done.stderr
    assert "'/x'" in done.stderr
    assert tree(tmp_path / "out") == {}


OTHER_KEY = "b3RoZXIga2V5IHRoYXQgaXMgbm90IHRoZSBhY2NvdW50cw=="


@pytest.mark.parametrize("server", ["s3_signed", "rclone", "azure"])
def test_both_engines_tell_wrong_credentials_alike(
    compared: Kaiwo, request: pytest.FixtureRequest, server: str, tmp_path: Path
) -> None:
    store: Store = request.getfixturevalue(server)
    bucket = store.new_bucket({"d/k": b"data"})
    wrong: list[dict[str, Any]] = [{"secret_key": CANARY}, {"access_key_id": CANARY}]
    if store.type == "azure-blob":
        own = {"connection_string": None, "endpoint_url": store.settings["endpoint_url"]}
        wrong = [{**own, "account_name": store.settings["account_name"], "account_key": OTHER_KEY}]
        wrong += [{**own, "anonymous": True}]
    items = ([{"folder": "", "target_path": "a"}], [{"file": "d/k", "target_path": "b"}])
    done = compared(*(store.task(bucket, each, **fields) for fields in wrong for each in items))
    assert done.code == 3, done.stderr
    kinds = {item["error"]["kind"] for item in done.report["items"]}
    assert (len(done.report["items"]), kinds) == (len(wrong) * 2, {"credentials"})
    assert OTHER_KEY not in done.stderr
    assert tree(tmp_path / "out") == {}


@each_engine
def test_a_token_that_gcs_does_not_know_is_refused(engine: Engine) -> None:
    with stores.gcs("--token=known") as store:
        bad = replace(store, fields={**store.fields, "application_credentials_file": None})
        bad = replace(bad, fields={**bad.fields, "token": CANARY})
        with opened(bad, "bucket", engine) as source:
            for ask in (
                lambda: list(source.list("")),
                lambda: source.stat("k"),
                lambda: source.read(RemoteObject("k", 4, None, "1"), 0, 4),
                lambda: list(source.stream(RemoteObject("k", 4, None, "1"))),
            ):
                with pytest.raises(CredentialsError) as caught:
                    ask()
                assert CANARY not in caught.value.message


# --- sources ----------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(store: Store, bucket: str, engine: Engine, **fields: Any) -> Iterator[Source]:
    """A source of a bucket; it is obstore's where that is asked for."""
    store = replace(store, fields={**store.fields, **fields})
    source = store.opener(bucket, engine).open()
    assert isinstance(source, ObstoreSource) == (engine == "obstore")
    try:
        yield source
    finally:
        source.close()


def everything(source: Source) -> dict[str, bytes]:
    """Every object, listed, looked up, and read in all ways."""
    found = {}
    for remote in source.list(""):
        assert source.stat(remote.key).identity == remote.identity
        data = bytes(source.read(remote, 0, remote.size))
        assert b"".join(bytes(chunk) for chunk in source.stream(remote)) == data
        assert bytes(source.read(remote, 1, remote.size)) == data[1:]
        found[remote.key] = data
    return found


@each_engine
def test_an_object_that_was_replaced_or_removed_since_it_was_listed_is_told_as_that(
    any_store: Store, engine: Engine
) -> None:
    bucket = any_store.new_bucket({"k": b"a" * 10, "big": b"a" * (2 << 20)})
    with opened(any_store, bucket, engine) as source:
        listed = list(source.list(""))
        any_store.fill(bucket, {"k": b"b" * 10, "big": b"b" * (2 << 20)})
        for remote in listed:
            for ask in readings(source, remote):
                with pytest.raises(ChangedError, match=remote.key):
                    ask()
        gone = [structs.replace(remote, key=f"{remote.key}-gone") for remote in listed]
        # Azure may look at the condition first.
        either = (NotFoundError, ChangedError)
        kinds: dict[str, tuple[type[KaiwoError], ...]]
        kinds = {"gcs": (ChangedError,), "s3": (NotFoundError,), "azure-blob": either}
        for remote in gone:
            for ask in readings(source, remote):
                with pytest.raises(kinds[any_store.type], match=remote.key):
                    ask()


def readings(source: Source, remote: RemoteObject) -> Sequence[Callable[[], object]]:
    return (
        lambda: source.read(remote, 0, remote.size),
        lambda: source.read(remote, 1, remote.size),
        lambda: list(source.stream(remote)),
    )


def test_a_source_of_obstore_leaves_nothing_open(s3: Store) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("no /proc here")
    bucket = s3.new_bucket({"big": BIG})

    def rounds(number: int) -> int:
        for _ in range(number):
            with opened(s3, bucket, "obstore") as source:
                assert everything(source) == {"big": BIG}
        return sum(
            "event" in link or "socket" in link for link in map(pointed_at, folder.iterdir())
        )

    before = rounds(2)
    # Connections may still be on their way out.
    assert rounds(8) - before < 8


def pointed_at(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


# --- what the task says, in a hostile environment -----------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A request as a server got it; the names of headers are in lower case."""

    target: str
    headers: Mapping[str, str]


@contextlib.contextmanager
def recorded(store: Store) -> Iterator[tuple[Store, list[Asked]]]:
    """The store by way of a proxy that keeps what it was asked."""
    parts = urlsplit(store.settings["endpoint_url"])
    asked: list[Asked] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(Asked(self.path, headers))
            body = self.rfile.read(int(headers.get("content-length", 0)))
            connection = http.client.HTTPConnection(parts.netloc, timeout=30)
            with contextlib.closing(connection):
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                got = connection.getresponse()
                self.send_response(got.status)
                for name, value in got.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                body = got.read()
                length = got.headers.get("Content-Length") if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = pass_on  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Requests are not logged."""

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads = True

    listener = Listener((serving.HOST, 0), Handler)
    base = f"{parts.scheme}://{parts.netloc}"
    address = f"http://{serving.HOST}:{listener.server_port}"
    fields = {
        name: value.replace(base, address) if isinstance(value, str) else value
        for name, value in store.fields.items()
    }
    with serving.in_thread(listener):
        yield replace(store, fields=fields), asked


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No home, no proxy, no metadata service: for the sources that are opened in this process."""
    for name in os.environ:
        theirs = name.startswith(tuple(OF_PROVIDERS.values()))
        if theirs or name.upper().endswith(("_BUNDLE", "_PROXY")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)


CLOSED = "http://127.0.0.1:1"
OF_PROVIDERS = {"s3": "AWS", "gcs": "GOOGLE", "azure": "AZURE"}
#: Of the clients of all three, by their own prefix.
CLIENT = {
    "ALLOW_HTTP": "false",
    "ALLOW_INVALID_CERTIFICATES": "true",
    "CONNECT_TIMEOUT": CANARY,
    "DEFAULT_CONTENT_TYPE": CANARY,
    "HTTP2_ONLY": "true",
    "PROXY_URL": CLOSED,
    "TIMEOUT": "0.000001 seconds",
    "USER_AGENT": CANARY,
}
HOSTILE: dict[str, dict[str, str]] = {
    "s3": {
        "AWS_ACCESS_KEY_ID": CANARY,
        "AWS_BUCKET": "other",
        "AWS_BUCKET_NAME": "other",
        "AWS_CHECKSUM_ALGORITHM": "sha256",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{CLOSED}/x",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x",
        "AWS_DEFAULT_REGION": "eu-nowhere-1",
        "AWS_ENDPOINT": CLOSED,
        "AWS_ENDPOINT_URL": CLOSED,
        "AWS_ENDPOINT_URL_S3": CLOSED,
        "AWS_IMDSV1_FALLBACK": "true",
        "AWS_METADATA_ENDPOINT": CLOSED,
        "AWS_PROFILE": "missing",
        "AWS_REGION": "eu-nowhere-1",
        "AWS_REQUEST_PAYER": "true",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/other",
        "AWS_S3_EXPRESS": "true",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_SESSION_TOKEN": CANARY,
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_TOKEN": CANARY,
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/missing",
    },
    "gcs": {
        "GOOGLE_APPLICATION_CREDENTIALS": "/missing",
        "GOOGLE_BASE_URL": CLOSED,
        "GOOGLE_BEARER_TOKEN": CANARY,
        "GOOGLE_BUCKET": "other",
        "GOOGLE_BUCKET_NAME": "other",
        "GOOGLE_SKIP_SIGNATURE": "true",
        "STORAGE_EMULATOR_HOST": CLOSED,
    },
    "azure": {
        "AZURE_CLIENT_ID": CANARY,
        "AZURE_CLIENT_SECRET": CANARY,
        "AZURE_CONTAINER_NAME": "other",
        "AZURE_FEDERATED_TOKEN_FILE": "/missing",
        "AZURE_MSI_ENDPOINT": CLOSED,
        "AZURE_SKIP_SIGNATURE": "true",
        "AZURE_STORAGE_ACCOUNT_KEY": CANARY,
        "AZURE_STORAGE_ACCOUNT_NAME": "other",
        "AZURE_STORAGE_CONNECTION_STRING": CANARY,
        "AZURE_STORAGE_ENDPOINT": CLOSED,
        "AZURE_STORAGE_KEY": CANARY,
        "AZURE_STORAGE_SAS_KEY": f"sig={CANARY}",
        "AZURE_STORAGE_SAS_TOKEN": f"sig={CANARY}",
        "AZURE_STORAGE_TOKEN": CANARY,
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURE_TENANT_ID": CANARY,
        "AZURE_USE_AZURE_CLI": "true",
        "AZURE_USE_FABRIC_ENDPOINT": "true",
    },
}


def hostile(name: str) -> Sequence[Mapping[str, str]]:
    """Environments: each variable alone, and all of them."""
    client = {f"{OF_PROVIDERS[name]}_{variable}": value for variable, value in CLIENT.items()}
    variables = HOSTILE[name] | client
    return [*({each: variables[each]} for each in sorted(variables)), variables]


@pytest.fixture(scope="module", params=["s3", "gcs", "azure"])
def hostile_store(request: pytest.FixtureRequest) -> Iterator[tuple[str, Store, str, list[Asked]]]:
    """Each store, one that looks at signatures; its bucket, and what it is asked."""
    name = "s3_signed" if request.param == "s3" else request.param
    real: Store = request.getfixturevalue(name)
    bucket = real.new_bucket(OBJECTS)
    if real.type == "gcs":
        fields = {**real.fields, "application_credentials_file": None, "token": "right"}
        real = replace(real, fields=fields)
    with recorded(real) as (store, asked):
        yield request.param, store, bucket, asked


def blob_endpoint(store: Store) -> str:
    """Where the connection string of a store says that it is."""
    parts = dict(part.partition("=")[::2] for part in store.fields["connection_string"].split(";"))
    return str(parts["BlobEndpoint"])


def right(store: Store, asked: Asked) -> bool:
    """Whether a request carries the task's own credentials, and nothing of the environment's."""
    said = asked.headers.get("authorization", "")
    shown = asked.target + json.dumps(dict(asked.headers))
    if CANARY in shown or "x-amz-request-payer" in asked.headers or "other" in asked.target:
        return False
    if store.type == "s3":
        return f"Credential={store.settings['access_key_id']}/" in said and "us-east-1/s3" in said
    if store.type == "gcs":
        return said == "Bearer right"
    return said.startswith(f"SharedKey {store.settings['account_name']}:")


def test_what_the_task_says_is_what_obstore_sends_in_a_hostile_environment(
    hostile_store: tuple[str, Store, str, list[Asked]],
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:
    name, store, bucket, asked = hostile_store
    for environment in hostile(name):
        with monkeypatch.context() as patched, subtests.test(environment=sorted(environment)):
            for variable, value in environment.items():
                patched.setenv(variable, value)
            asked.clear()
            with opened(store, bucket, "obstore") as source:
                assert everything(source) == OBJECTS
            assert len(asked) > 3 * len(OBJECTS)
            assert [each for each in asked if not right(store, each)] == []


def test_anonymous_sends_nothing_in_a_hostile_environment(
    hostile_store: tuple[str, Store, str, list[Asked]],
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:
    name, store, bucket, asked = hostile_store
    fields: dict[str, Any] = dict.fromkeys(store.fields) | {"anonymous": True}
    fields["endpoint_url"] = store.fields.get("endpoint_url")
    if store.type == "azure-blob":
        fields["endpoint_url"] = blob_endpoint(store)
    else:
        fields |= {key: store.fields[key] for key in ("region", "project") if key in store.fields}
    for environment in hostile(name):
        with monkeypatch.context() as patched, subtests.test(environment=sorted(environment)):
            for variable, value in environment.items():
                patched.setenv(variable, value)
            asked.clear()
            with opened(store, bucket, "obstore", **fields) as source:
                # A private bucket: what matters is what is sent.
                with contextlib.suppress(CredentialsError):
                    source.read(RemoteObject("k", 4), 0, 4)
                with contextlib.suppress(CredentialsError):
                    source.read(RemoteObject("big", len(BIG)), 0, len(BIG))
                if store.type == "s3":  # the others list through fsspec
                    with contextlib.suppress(KaiwoError):
                        list(source.list(""))
            assert len(asked) >= 2
            for each in asked:
                assert "authorization" not in each.headers
                assert "x-amz-security-token" not in each.headers
                assert "sig=" not in each.target
                assert CANARY not in json.dumps(dict(each.headers))


@pytest.mark.parametrize(
    "variable",
    [
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "SERVICE_ACCOUNT",
    ],
)
def test_a_stray_service_account_that_obstore_would_read_is_named(
    kaiwo: Kaiwo, gcs: Store, tmp_path: Path, variable: str
) -> None:
    task = gcs.task(gcs.new_bucket({"k": b"data"}), ALL)
    done = kaiwo({"download_items": [task]}, *QUICK, env=NOWHERE | {variable: CANARY})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": b"data"}
    assert CANARY not in done.stderr
    # Either obstore does not mind, or the line says what is in its way.
    assert [line for line in chosen(done) if variable not in line] == []


def test_a_stray_service_account_that_is_right_is_not_used(
    gcs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = gcs.new_bucket(OBJECTS)
    fields = {"application_credentials_file": None, "token": "right"}
    for variable in ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(variable, gcs.settings["service_account_file"])
    with recorded(gcs) as (store, asked), opened(store, bucket, "obstore", **fields) as source:
        assert everything(source) == OBJECTS
    assert {each.headers.get("authorization") for each in asked} == {"Bearer right"}


@each_engine
def test_a_signature_of_azure_is_sent_as_it_is(azure: Store, engine: Engine) -> None:
    from tests.scenarios.test_credentials import signature  # noqa: PLC0415

    container = azure.new_bucket(OBJECTS)
    with recorded(azure) as (store, asked):
        fields = {"connection_string": None, "endpoint_url": blob_endpoint(store)}
        fields["sas_token"] = signature(azure, container)
        with opened(store, container, engine, **fields) as source:
            assert everything(source) == OBJECTS
    assert all("sig=" in each.target and "authorization" not in each.headers for each in asked)


@each_engine
def test_the_session_token_and_who_pays_are_sent_with_every_request(
    s3: Store, engine: Engine
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    with recorded(s3) as (store, asked):
        fields = {"session_token": " a-token\n", "requester_pays": True}
        with opened(store, bucket, engine, **fields) as source:
            assert everything(source) == OBJECTS
    assert asked
    assert {each.headers.get("x-amz-security-token") for each in asked} == {"a-token"}
    assert {each.headers.get("x-amz-request-payer") for each in asked} == {"requester"}


# --- what the SDK would find ------------------------------------------------------------------

NO_KEYS: dict[str, None] = {"access_key_id": None, "secret_key": None}


@each_engine
@pytest.mark.parametrize("token", [None, "a-token"])
def test_keys_of_the_environment_are_found(
    s3: Store, engine: Engine, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "found")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    bucket = s3.new_bucket(OBJECTS)
    with recorded(s3) as (store, asked), opened(store, bucket, engine, **NO_KEYS) as source:
        assert everything(source) == OBJECTS
    assert all("Credential=found/" in each.headers["authorization"] for each in asked)
    assert {each.headers.get("x-amz-security-token") for each in asked} == {token}


def shared_files(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
        monkeypatch.setenv(name, str(folder / name))


@each_engine
@pytest.mark.parametrize("named_by", ["task", "environment"])
def test_a_profile_gives_keys_region_and_address(
    s3_signed: Store,
    engine: Engine,
    named_by: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bucket = s3_signed.new_bucket(OBJECTS)
    with recorded(s3_signed) as (store, asked):
        key, secret = (store.settings[name] for name in ("access_key_id", "secret_key"))
        shared_files(
            tmp_path,
            monkeypatch,
            AWS_SHARED_CREDENTIALS_FILE=f"[p]\naws_access_key_id={key}\n"
            f"aws_secret_access_key={secret}\n",
            AWS_CONFIG_FILE="[default]\nregion=eu-nowhere-1\n[profile p]\nregion=eu-west-3\n"
            f"endpoint_url={store.fields['endpoint_url']}\n",
        )
        fields: dict[str, Any] = {**NO_KEYS, "endpoint_url": None, "region": None}
        if named_by == "task":
            fields["profile"] = "p"
        else:
            monkeypatch.setenv("AWS_PROFILE", "p")
        with opened(store, bucket, engine, **fields) as source:
            assert everything(source) == OBJECTS
    assert all(f"Credential={key}/" in each.headers["authorization"] for each in asked)
    assert all("/eu-west-3/s3/" in each.headers["authorization"] for each in asked)


@each_engine
@pytest.mark.parametrize("name", ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"])
@pytest.mark.parametrize("fields", [{}, NO_KEYS], ids=["keys", "no keys"])
def test_a_malformed_shared_file_is_a_fault_of_the_configuration(
    s3: Store,
    engine: Engine,
    name: str,
    fields: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shared_files(tmp_path, monkeypatch, **{name: f"[default\n{CANARY}"})
    store = replace(s3, fields={**s3.fields, **fields})
    with pytest.raises(ConfigError, match="malformed") as caught:
        store.opener("bucket", engine).open()
    assert CANARY not in caught.value.message


@each_engine
def test_a_profile_that_is_nowhere_is_told(
    s3: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared_files(tmp_path, monkeypatch, AWS_CONFIG_FILE="[default]\nregion=us-east-1\n")
    store = replace(s3, fields={**s3.fields, **NO_KEYS, "profile": "missing"})
    with pytest.raises(CredentialsError, match="profile missing"):
        store.opener("bucket", engine).open()


@each_engine
def test_without_any_keys_the_first_request_says_what_to_give(s3: Store, engine: Engine) -> None:
    bucket = s3.new_bucket(OBJECTS)
    with opened(s3, bucket, engine, **NO_KEYS) as source:
        for ask in (
            lambda: list(source.list("")),
            lambda: source.stat("k"),
            lambda: source.read(RemoteObject("k", 4), 0, 4),
            lambda: source.read(RemoteObject("big", len(BIG)), 0, len(BIG)),
            lambda: list(source.stream(RemoteObject("k", 4))),
        ):
            with pytest.raises(CredentialsError, match="access_key_id"):
                ask()


@each_engine
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("fields", [{}, NO_KEYS], ids=["keys", "no keys"])
@pytest.mark.parametrize("has_files", [False, True])
def test_the_address_is_found_in_the_environment(
    s3: Store,
    engine: Engine,
    name: str,
    fields: dict[str, Any],
    has_files: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    monkeypatch.setenv(name, s3.fields["endpoint_url"])
    if name == "AWS_ENDPOINT_URL_S3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
    if has_files:
        shared_files(tmp_path, monkeypatch, AWS_CONFIG_FILE=f"[default]\nendpoint_url={CLOSED}\n")
    if fields:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "found")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with opened(s3, bucket, engine, **fields, endpoint_url=None) as source:
        assert everything(source) == {"k": b"data"}


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
@pytest.mark.parametrize("has_files", [False, True])
def test_addresses_that_the_sdk_is_to_ignore_are_ignored(
    value: str, has_files: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from botocore.session import Session  # noqa: PLC0415

    monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", value)
    said = (None, "us-east-1", None, lambda: s3_settings.keys("a", "b", None))
    if has_files:
        shared_files(tmp_path, monkeypatch, AWS_CONFIG_FILE=f"[default]\nendpoint_url={CLOSED}\n")
        found = s3_settings.from_sdk(Session(), *said, anonymous=False)
    else:
        found = s3_settings.from_environment(*said)
    assert found.endpoint is None
    address = s3_settings.address(found, "bucket", "auto")
    assert address["endpoint"] == "https://bucket.s3.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("endpoint", "bucket", "style", "expected"),
    [
        (None, "bucket", "auto", "https://bucket.s3.eu-west-3.amazonaws.com"),
        (None, "buc.ket", "auto", "https://s3.eu-west-3.amazonaws.com"),
        (None, "bucket", "path", "https://s3.eu-west-3.amazonaws.com"),
        (None, "bucket", "virtual", "https://bucket.s3.eu-west-3.amazonaws.com"),
        ("http://h:9000", "bucket", "auto", "http://h:9000"),
        ("http://h:9000/", "bucket", "path", "http://h:9000"),
        ("http://h:9000", "bucket", "virtual", "http://bucket.h:9000"),
        ("https://h/base/", "bucket", "virtual", "https://bucket.h/base"),
    ],
)
def test_the_bucket_is_in_the_path_or_in_the_host_name(
    endpoint: str | None, bucket: str, style: str, expected: str
) -> None:
    found = s3_settings.S3Settings(endpoint, "eu-west-3", None, None)
    config = s3_settings.address(found, bucket, style)
    assert (config["endpoint"], config["aws_endpoint_url_s3"]) == (expected, expected)
    assert config["virtual_hosted_style_request"] == (f"//{bucket}." in expected)


@pytest.mark.parametrize(
    "bucket", ["", "a", "a/b", "data--use1-az4--x-s3", "arn:aws:s3:x", "-bucket", "bücket"]
)
def test_a_bucket_that_only_the_sdk_can_find_is_not_addressed(bucket: str) -> None:
    found = s3_settings.S3Settings(None, "eu-west-3", None, None)
    with pytest.raises(NotForObstoreError):
        s3_settings.address(found, bucket, "auto")


@each_engine
@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_environments_authority_is_trusted(
    s3: Store, engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.scenarios.test_command_errors import Pipe  # noqa: PLC0415

    bundle, context = authority(tmp_path)
    bucket = s3.new_bucket(OBJECTS)
    monkeypatch.setenv(name, str(bundle))
    with contextlib.closing(Pipe(s3.fields["endpoint_url"], tls=context)) as pipe:
        address = f"https://localhost:{pipe.port}"
        with opened(s3, bucket, engine, endpoint_url=address) as source:
            assert everything(source) == OBJECTS
            assert not getattr(source, "_switched", False)


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority's certificate, and the TLS of a server on localhost that it vouches for."""
    now = datetime.now(UTC)

    def signed(
        name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, ca: bool
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.PEM)

    top, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    bundle, both = folder / "ca.pem", folder / "server.pem"
    bundle.write_bytes(signed("authority", top, top, ca=True))
    private = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both.write_bytes(private + signed("localhost", own, top, ca=False))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return bundle, context


@pytest.mark.parametrize("variable", ["AWS_ALLOW_INVALID_CERTIFICATES"])
def test_no_variable_makes_obstore_trust_everybody(
    s3: Store, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.scenarios.test_command_errors import Pipe  # noqa: PLC0415

    _, context = authority(tmp_path)
    bucket = s3.new_bucket({"k": b"data"})
    monkeypatch.setenv(variable, "true")
    with contextlib.closing(Pipe(s3.fields["endpoint_url"], tls=context)) as pipe:
        address = f"https://localhost:{pipe.port}"
        with (
            opened(s3, bucket, "obstore", endpoint_url=address) as source,
            pytest.raises(CertificateError),
        ):
            source.read(RemoteObject("k", 4), 0, 4)


@each_engine
def test_the_proxy_of_the_environment_is_used_but_for_what_it_excepts(
    s3: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{servers.free_port()}")
    with opened(s3, bucket, engine) as source, pytest.raises(UnreachableError):
        list(source.list(""))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.org,127.0.0.1")
    with opened(s3, bucket, engine) as source:
        assert everything(source) == {"k": b"data"}
