"""No secret in any output, error, report, repr or state file, at any log level."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote

import pytest
import yaml
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from pydantic import SecretStr

from kaiwo.tasks.base import Engine
from kaiwo.tasks.registry import BUILT_IN, task_class
from tests import servers
from tests.servers import serving
from tests.support import stores
from tests.support.canaries import WAYS, Canaries, ways
from tests.support.command import clean_environment, forked
from tests.support.defective import DEFECTIVE
from tests.support.proxies import Answer, Spoil, spoiling
from tests.support.stores import Store

#: No library may look for a service outside.
NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_GCE_CHECK": "true",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "NO_PROXY": "127.0.0.1",
    "AZURE_AUTHORITY_HOST": "https://127.0.0.1:1",
}
NOISY = {"PYTHONFAULTHANDLER": "1", "S3FS_LOGGING_LEVEL": "DEBUG", "KAIWO_LOG_LEVEL": "DEBUG"}
_EARLY = ("PYTHONFAULTHANDLER", "S3FS_LOGGING_LEVEL", "NO_GCE_CHECK")
#: Those of both that are read when a library is loaded.
EARLY = {name: (NOWHERE | NOISY)[name] for name in _EARLY}
#: One of a single request, and one that a journal is kept of.
OBJECTS = {"k": b"data", "large": bytes(range(256)) * (9 << 12)}


@dataclass
class Scene:
    """A folder to run in, which is searched afterwards, and a folder for the inputs.

    Attributes:
        work: working directory, home, temporary folder and download root of what runs.
        given: configuration and secret files.
        canaries: what is looked for.
    """

    work: Path
    given: Path
    canaries: Canaries
    _runs: int = field(default=0)

    def config(self, tasks: Sequence[Mapping[str, Any]]) -> str:
        """The path of a configuration of these tasks."""
        document = {"download_root": str(self.work / "root"), "download_items": list(tasks)}
        path = self.given / "config.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return str(path)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run Python as a child, and search its output and all that it left behind.

        The command runs in a fork, unless what it imports is to be found elsewhere.
        """
        temporary = self.work / "tmp"
        temporary.mkdir(exist_ok=True)
        env = clean_environment(self.work) | NOWHERE | NOISY | variables
        env |= {"TMPDIR": str(temporary), "KAIWO_TERMINATION_LOG": str(self.work / "termination")}
        env["KAIWO_METRICS_FILE"] = str(self.work / "metrics")
        if arguments[:2] == ("-m", "kaiwo") and "PYTHONPATH" not in variables:
            code, *said = forked(arguments[2:], env, self.work, EARLY, "kaiwo")
            output, errors = (text.encode() for text in said)
            done = subprocess.CompletedProcess(arguments, code, output, errors)
        else:
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=self.work,
                env=env,
                capture_output=True,
                timeout=120,
                check=False,
            )
        assert self.canaries.shown_in(done.stdout + done.stderr) == []
        assert self.canaries.left_in(self.work, OBJECTS.values()) == {}
        return done

    def state_modes(self) -> set[str]:
        """The permissions of all files of kaiwo's own."""
        files = (path for path in self.work.rglob(".kaiwo/**/*") if path.is_file())
        return {oct(stat.S_IMODE(path.stat().st_mode)) for path in files}

    def download(self, tasks: Sequence[Mapping[str, Any]], *options: str) -> Mapping[str, Any]:
        """Run the command on these tasks; returns its report."""
        usual = ("--retries=0", "--startup-wait=0", "--stall-timeout=1", "--progress=json")
        report = self.work / "report.json"
        config = self.config(tasks)
        done = self.run("-m", "kaiwo", "download", config, f"--report={report}", *usual, *options)
        assert report.exists(), done.stderr.decode()
        document: Mapping[str, Any] = json.loads(report.read_text())
        return document


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Scene:
    """Two folders, and canaries of this test's own."""
    work, given = tmp_path / "work", tmp_path / "given"
    work.mkdir()
    given.mkdir()
    return Scene(work, given, Canaries(request.node.name))


def task_of(way: Any, base: str, **fields: Any) -> dict[str, Any]:
    """A task that goes in by that way."""
    task: dict[str, Any] = {"type": way.type, "name": f"{way}", **way.fields, **fields}
    target = re.sub(r"\W", "-", task["name"])
    items = [{"folder": "", "target_path": target}]
    if way.type == "url":
        return task | {"items": [{"file": f"{base}/there", "target_path": f"{target}/"}]}
    if "connection_string" not in "".join(way.fields):
        task["endpoint_url"] = f"{base}/account" if way.type == "azure-blob" else base
    if way.type == "hf":
        return task | {"repo_id": "owner/repo", "target_path": target}
    holder = "containers" if way.type == "azure-blob" else "buckets"
    return task | {holder: [{"name": "bucket", "items": items}]}


def test_every_credential_field_has_a_canary() -> None:
    assert set(WAYS) == set(BUILT_IN)
    for type_ in BUILT_IN:
        fields = cast("Any", task_class(type_)).model_fields
        named = {name for way in WAYS[type_] for name in way} | {"endpoint_url"}
        for name, info in fields.items():
            is_file = name.removesuffix("_file") in fields.keys() - {name}
            is_secret = is_file or SecretStr in getattr(info.annotation, "__args__", ())
            assert not is_secret or name.removesuffix("_file") in named, f"{type_}.{name}"


def test_a_canary_is_found_in_every_form() -> None:
    canaries = Canaries("found")
    text = canaries.new("secret")
    encoded = [base64.b64encode(b"x" * n + text.encode()).decode() for n in range(3)]
    for content in (text, quote(text), *encoded):
        assert canaries.seen_in(f"before {content} after".encode())
    assert not canaries.seen_in(text[1:].encode())


# --- services that are not as they should be ----------------------------------------------------


class Echo(http.server.BaseHTTPRequestHandler):
    """Refuses everything, and quotes the request in the answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        quoted = f"{self.path}\n{self.headers}"
        body = f"<Error><Code>{'AccessDenied'}</Code><Message>{quoted}</Message></Error>".encode()
        self.send_response(403, "Forbidden")
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "host"):
                self.send_header(f"X-Echo-{name}", value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_GET  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Requests are not logged."""


@pytest.fixture(scope="module")
def bad_services() -> Iterator[dict[str, str]]:
    """By what is wrong with them."""
    with contextlib.ExitStack() as stack:
        echo = http.server.ThreadingHTTPServer((serving.HOST, 0), Echo)
        stack.enter_context(serving.in_thread(echo))
        silent = stack.enter_context(socket.create_server((serving.HOST, 0), backlog=100))
        yield {
            "refused": f"http://{serving.HOST}:{servers.free_port()}",
            "echo": f"http://{serving.HOST}:{echo.server_port}",
            "no TLS": f"https://{serving.HOST}:{echo.server_port}",
            "silent": f"http://{serving.HOST}:{silent.getsockname()[1]}",
        }


#: Kinds of error that a task may end with, where a service is so.
KINDS = {
    "refused": {"unreachable"},
    "echo": {"credentials"},
    "no TLS": {"service"},
    "silent": {"service"},
}


@pytest.mark.parametrize(("engine", "in_files"), [("fsspec", True), ("obstore", False)])
def test_no_secret_is_told_when_services_fail(
    scene: Scene, bad_services: Mapping[str, str], engine: Engine, in_files: bool
) -> None:
    tasks = bad_tasks(scene, bad_services, in_files=in_files)
    report = scene.download(tasks, f"--engine={engine}")
    kinds = {item["task"]: item["error"]["kind"] for item in report["items"]}
    assert set(kinds) == {task["name"] for task in tasks}
    for name, kind in kinds.items():
        # Tokens of Microsoft Entra go by https:// only, and their service is nowhere.
        by_entra = "client_secret" in name or "principal_certificate" in name
        is_refused = engine == "obstore" and "customer_key" in name and kind == "config"
        assert by_entra or is_refused or kind in KINDS[name.partition(":")[0]], name


def bad_tasks(
    scene: Scene, bad_services: Mapping[str, str], *, in_files: bool
) -> list[dict[str, Any]]:
    """A task for every way into every type, at every bad service."""
    tasks = []
    for what, base in bad_services.items():
        folder = scene.given / what
        folder.mkdir()
        found = ways(scene.canaries, WAYS, base, folder, in_files=in_files)
        tasks += [task_of(way, base, name=f"{what}: {way}") for way in found]
    return tasks


# --- services that are as they should be --------------------------------------------------------


class Guarded(http.server.BaseHTTPRequestHandler):
    """A file for clients that know the secret, which is also in the first segment of the path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = f"{unquote(self.path)} {self.headers.get('Authorization', '')}"
        right = any(secret in told for secret in self.server.secrets)  # type: ignore[attr-defined]
        body = b"data" if right else b"no"
        self.send_response(200 if right else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Requests are not logged."""


@pytest.fixture(scope="module")
def hub_with_token() -> Iterator[Store]:
    """A Hub that one token gets into, which does not look like one of the Hub's own."""
    with stores.hub("--token=ZtXoLqWvRbNmKjHgFdSaPoIuYtReWq") as store:
        yield store


@pytest.fixture
def right(
    scene: Scene, s3_signed: Store, azure: Store, gcs: Store, hub_with_token: Store
) -> list[Store]:
    """Stores that check who asks, and whose secrets are looked for."""
    canaries = scene.canaries
    for store, name in ((s3_signed, "access_key_id"), (s3_signed, "secret_key"),
                        (azure, "account_key"), (hub_with_token, "token")):  # fmt: skip
        canaries.known(f"{store.type}.{name}", store.settings[name])
    account = json.loads(Path(gcs.settings["service_account_file"]).read_text(encoding="utf-8"))
    canaries.known("gcs.private_key_id", account["private_key_id"])
    for line in account["private_key"].splitlines()[1:-1]:
        canaries.known("gcs.private_key", line)
    return [s3_signed, azure, gcs, hub_with_token]


def right_tasks(scene: Scene, right: Sequence[Store]) -> list[dict[str, Any]]:
    """Tasks that succeed: of all stores, their secrets given as values, and again as files."""
    tasks = []
    for store in right:
        fields: dict[str, Any] = {}
        if store.type == "gcs":
            content = Path(store.settings["service_account_file"]).read_text(encoding="utf-8")
            fields = {"application_credentials_file": None, "application_credentials": content}
        tasks.append(in_folder(store, f"{store.type}/values", **fields))
        for name in ("access_key_id", "secret_key", "connection_string", "token"):
            if store.fields.get(name):
                path = scene.given / f"{store.type}-{name}"
                path.write_text(store.fields[name])
                fields |= {name: None, f"{name}_file": str(path)}
        if store.type != "gcs":
            tasks.append(in_folder(store, f"{store.type}/files", **fields))
        if store.type == "azure-blob":
            tasks.append(by_signature(scene, store))
    return tasks


#: By the settings of their stores; those of a store by way of a proxy are the store's.
_BUCKETS: dict[str, str] = {}


def bucket_of(store: Store) -> str:
    """A bucket with the objects, which is filled once."""
    key = f"{sorted(store.settings.items())}"
    if key not in _BUCKETS:
        _BUCKETS[key] = store.new_bucket(OBJECTS)
    return _BUCKETS[key]


def in_folder(store: Store, target: str, **fields: Any) -> dict[str, Any]:
    """A task for a store's bucket with the objects."""
    if store.type == "hf":
        fields["target_path"] = target
    items = [{"folder": "", "target_path": target}]
    return store.task(bucket_of(store), items, **fields)


def by_signature(scene: Scene, azure: Store) -> dict[str, Any]:
    """A task that has a SAS only."""
    container, settings = bucket_of(azure), azure.settings
    may = ContainerSasPermissions(read=True, list=True)
    until = datetime.now(UTC) + timedelta(hours=1)
    account, key = settings["account_name"], settings["account_key"]
    sas = generate_container_sas(account, container, key, permission=may, expiry=until)
    scene.canaries.known("azure-blob.sas_token", parse_qs(sas)["sig"][0])
    fields = {"connection_string": None, "endpoint_url": settings["endpoint_url"]}
    items = [{"folder": "", "target_path": "azure-blob/signature"}]
    return azure.task(container, items, **fields, sas_token=sas)


@pytest.fixture
def guarded(scene: Scene) -> Iterator[list[str]]:
    """URLs that hold a secret, in all the ways in which URLs do."""
    server = http.server.ThreadingHTTPServer((serving.HOST, 0), Guarded)
    secrets = [scene.canaries.new(f"url.{n}", length=48) for n in range(4)]
    server.secrets = secrets  # type: ignore[attr-defined]
    user, sas, aws, token = (quote(secret, safe="") for secret in secrets)
    # As HTTP has it: base64 of user and password.
    server.secrets.append(base64.b64encode(f"user:{secrets[0]}".encode()).decode())  # type: ignore[attr-defined]
    host = f"{serving.HOST}:{server.server_port}"
    with serving.in_thread(server):
        yield [
            f"http://user:{user}@{host}/by-user",
            f"http://{host}/by-sas?sv=2024-11-04&sig={sas}&sr=b",
            f"http://{host}/by-aws?X-Amz-Signature={aws}&X-Amz-Credential={aws}",
            f"http://{host}/by-token?a=b&access_token={token}",
        ]


def test_no_secret_is_told_when_all_is_well(
    scene: Scene, right: Sequence[Store], guarded: Sequence[str], engine: Engine
) -> None:
    items = [{"file": url, "target_path": "url/"} for url in guarded]
    tasks = [*right_tasks(scene, right), {"type": "url", "items": items}]
    # Of the files of the web nothing but their size is stated: they come again each time.
    for new in (2 * 8, 0):
        # A busy machine may be silent for longer than the tests of failures wait.
        report = scene.download(tasks, f"--engine={engine}", "--stall-timeout=30")
        assert report["ok"], "\n".join(
            str(item["error"]) for item in report["items"] if item["error"]
        )
        assert report["downloaded"] == new + len(guarded)
    assert report["files"] == 2 * 8 + len(guarded)
    assert scene.state_modes() == {"0o640"}  # as its root: the group may read, others not
    planned = scene.run("-m", "kaiwo", "plan", scene.config(tasks), "--json")
    assert planned.returncode == 0
    assert json.loads(planned.stdout)


def quoting(store: Store) -> Spoil:
    """Quotes the store's settings where the bytes of an object should be."""
    secrets = {name: store.settings.get(name) for name in store.settings}
    body = f"<Error><Code>AccessDenied</Code><Message>{secrets}</Message></Error>".encode()

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith(("/k", "/large")):
            return Answer(403, {"Content-Type": "application/xml", "X-Key": str(secrets)}, body)
        return answer

    return spoil


def quoted_tasks(stack: contextlib.ExitStack, right: Sequence[Store]) -> list[dict[str, Any]]:
    """Tasks that list what they may not read, until the stack is closed."""
    spoiled = [stack.enter_context(spoiling(store, quoting(store))) for store in right]
    return [in_folder(store, f"{store.type}/quoted") for store in spoiled]


def test_no_secret_is_told_when_services_quote_it_instead_of_bytes(
    scene: Scene, right: Sequence[Store], engine: Engine
) -> None:
    with contextlib.ExitStack() as stack:
        tasks = quoted_tasks(stack, right)
        report = scene.download(tasks, f"--engine={engine}", "--log-format=json")
    assert {item["status"] for item in report["items"]} == {"failed"}
    assert len(report["items"]) == 8
    assert scene.state_modes() <= {"0o640"}


# --- what is wrong before anything is asked -----------------------------------------------------


@pytest.mark.parametrize("command", ["validate", "plan", "download"])
def test_no_secret_is_told_of_a_file_that_is_wrong(scene: Scene, command: str) -> None:
    """Misspelled keys, wrong types, fields that exclude each other, malformed values."""
    tasks: list[dict[str, Any]] = []
    base = "http://127.0.0.1:1"
    for way in ways(scene.canaries, WAYS, base, scene.given, in_files=False):
        task = task_of(way, base)
        for name, value in way.fields.items():
            others = {each: task[each] for each in task if each != name}
            tasks += [
                others | {f"{name[:-1]}": value},
                others | {name: [value]},
                others | {name: {value: value} if isinstance(value, str) else str(value)},
                task | {f"{name}_file": "/no/such/file"},
                task | {"anonymous": True, "endpoint_url": scene.canaries.new("endpoint_url")},
                task | {"buckets": value, "items": value, "containers": value},
            ]
    done = scene.run("-m", "kaiwo", command, scene.config(tasks))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) > len(tasks)


@pytest.mark.parametrize("what", ["broken", "lines", "latin", "yaml"])
def test_no_secret_is_told_of_a_secret_that_cannot_be_used(
    scene: Scene, engine: Engine, what: str
) -> None:
    base = "http://127.0.0.1:1"
    tasks = []
    for number, way in enumerate(ways(scene.canaries, WAYS, base, scene.given, in_files=True)):
        for name, path in way.fields.items():
            if name.endswith("_file"):
                content = scene.canaries.new(f"{what} {name}")
                if what == "lines":
                    content += "\nX-Header: " + scene.canaries.new(f"second line of {name}")
                if what == "latin":
                    content += "ñ=;;="
                Path(path).write_text(content)
        if what != "yaml":
            tasks.append(task_of(way, base, name=f"{number}"))
    config = scene.config(tasks)
    if what == "yaml":
        Path(config).write_text(f"a: [b\n{scene.canaries.new('yaml')}: &x *y\n- {{")
    quick = ("--retries=0", "--startup-wait=0")
    done = scene.run("-m", "kaiwo", "download", config, f"--engine={engine}", *quick)
    assert done.returncode in (2, 3, 5), done.stderr


# --- fetch, schema ------------------------------------------------------------------------------


def test_no_secret_is_told_by_fetch(
    scene: Scene, bad_services: Mapping[str, str], guarded: Sequence[str]
) -> None:
    """Given as ``-o field=value`` to a service that quotes it, and in the URL itself."""
    schemes = {"s3": "s3://b/k", "gcs": "gs://b/k", "azure-blob": "az://b/k", "hf": "hf://o/r/k"}
    echo = bad_services["echo"]
    quick = {"KAIWO_RETRIES": "0", "KAIWO_STARTUP_WAIT": "0", "KAIWO_STALL_TIMEOUT": "1"}
    first = {way.type: way for way in ways(scene.canaries, WAYS, echo, scene.given, in_files=False)}
    for type_, url in schemes.items():
        task = task_of(first[type_], echo)
        names = [*first[type_].fields, *(["endpoint_url"] if "endpoint_url" in task else [])]
        given = [word for name in names for word in ("-o", f"{name}={task[name]}")]
        done = scene.run("-m", "kaiwo", "fetch", url, "there", *given, **quick)
        assert done.returncode in (2, 3), done.stderr
    for number, url in enumerate(guarded):
        done = scene.run("-m", "kaiwo", "fetch", url, f"fetched-{number}", **quick)
        assert done.returncode == 0, done.stderr
    sas = quote(scene.canaries.new("sig"), safe="")
    user = quote(scene.canaries.new("user"), safe="")
    for wrong in (
        f"{echo}/there?sig={sas}",
        f"{bad_services['refused']}/there?X-Amz-Signature={sas}",
        f"{echo.replace('//', f'//u:{user}@')}/there",
        f"s3://{user}:{sas}@bucket/key",
        f"htps://{user}:{sas}@host/key?sig={sas}",
        f"//{user}:{sas}@host/key?sig={sas}",
    ):
        done = scene.run("-m", "kaiwo", "fetch", wrong, "there", **quick)
        assert done.returncode in (2, 3, 5), done.stderr


def test_the_schema_holds_nothing_of_the_environment(scene: Scene) -> None:
    names = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY", "HF_TOKEN")
    env = {name: scene.canaries.new(name) for name in names}
    done = scene.run("-m", "kaiwo", "schema", **env)
    assert done.returncode == 0
    assert json.loads(done.stdout)["title"] == "kaiwo"


# --- defects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["wants", "source", "list"])
def test_no_secret_is_told_by_a_defect(scene: Scene, when: str) -> None:
    """Of a task type that is somebody else's, and quotes the secret in its exception."""
    metadata = scene.given / "defective-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: defective\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[kaiwo.tasks]\ndefective = defective:Defective\n")
    (scene.given / "defective.py").write_text(DEFECTIVE)
    items = [{"folder": "", "target_path": "there"}]
    task = {"type": "defective", "when": when, "buckets": [{"name": "b", "items": items}]}
    task["password"] = scene.canaries.new("password")
    path = f"{clean_environment(scene.work)['PYTHONPATH']}{os.pathsep}{scene.given}"
    config = scene.config([task])
    done = scene.run("-m", "kaiwo", "download", config, PYTHONPATH=path)
    assert done.returncode == 1, done.stderr
    assert b"RuntimeError" in done.stderr


# --- as a library -------------------------------------------------------------------------------

APPLICATION = """
import logging, pickle, sys, traceback
logging.basicConfig(level=logging.DEBUG, filename="application.log")
for name in "botocore aiobotocore s3fs azure urllib3 httpx2 httpcore2 gcsfs fsspec asyncio".split():
    logging.getLogger(name).setLevel(logging.DEBUG)

import kaiwo
from kaiwo.config.loader import load

config, engine, *urls = sys.argv[1:]
quick = dict(engine=engine, retries=0, startup_wait=0, stall_timeout=1)
loaded = load(config, quick)
print(loaded, repr(loaded), loaded.settings, loaded.document)
for task in loaded.tasks:
    print(task, repr(task), task.model_dump(), pickle.loads(pickle.dumps(task)))
report = kaiwo.download(config, **quick)
print(report, repr(report), sep="\\n")
for item in report.items:
    if item.error is not None:
        traceback.print_exception(item.error)
        logging.error("failed", exc_info=item.error)
for url in urls:
    try:
        kaiwo.fetch(url, "nowhere")
    except kaiwo.KaiwoError:
        traceback.print_exc()
"""


def test_no_secret_is_told_to_an_application_that_logs_everything(
    scene: Scene,
    right: Sequence[Store],
    bad_services: Mapping[str, str],
    guarded: Sequence[str],
    engine: Engine,
) -> None:
    """In its log, in what it prints of configuration and report, in the traces of errors."""
    items = [{"file": url, "target_path": "url/"} for url in guarded]
    tasks = [*right_tasks(scene, right), {"type": "url", "items": items}]
    tasks += bad_tasks(scene, bad_services, in_files=False)
    user = quote(scene.canaries.new("endpoint_url"), safe="")
    for way in ways(scene.canaries, ("hf",), "", scene.given, in_files=False):
        tasks.append(task_of(way, bad_services["refused"].replace("//", f"//user:{user}@")))
    script = scene.given / "application.py"
    script.write_text(APPLICATION)
    with contextlib.ExitStack() as stack:
        tasks += quoted_tasks(stack, right)
        done = scene.run(str(script), scene.config(tasks), engine)
    assert done.returncode == 0, done.stderr
    log = (scene.work / "application.log").read_text()
    assert "DEBUG:kaiwo" in log
    assert "Authorization" in log
