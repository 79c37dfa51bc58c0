"""The command when something is wrong: exit code, one clear message, no secret, nothing written."""

import contextlib
import ctypes
import functools
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests import servers
from tests.support import stores
from tests.support.command import Kaiwo, Run, clean_environment, tree
from tests.support.stores import Store

CANARY = "CANARYxyzzy"
ITEMS = [{"file": "k", "target_path": "k"}]
#: A task that is right but for what a test changes in it; its secret is the canary.
TASK = f"""\
download_items:
  - type: s3
    name: models
    endpoint_url: http://127.0.0.1:1
    access_key_id: {CANARY}
    secret_key: {CANARY}
    buckets:
      - name: b
        items:
          - file: k
            target_path: k
"""
DEADLINE_S = 30.0


@pytest.fixture
def failing(kaiwo: Kaiwo, tmp_path: Path) -> Kaiwo:
    """The command, of which no failure shows a stack trace or a secret anywhere."""

    def run(
        config: Mapping[str, Any] | str, *options: str, env: Mapping[str, str] | None = None
    ) -> Run:
        termination = tmp_path / "termination-log"
        variables = {"KAIWO_TERMINATION_LOG": str(termination)} | dict(env or {})
        done = kaiwo(config, *options, env=variables)
        written = json.dumps(dict(done.report))
        written += termination.read_text() if termination.exists() else ""
        assert "Traceback" not in done.stderr
        for shown in (done.stdout, done.stderr, written):
            assert CANARY not in shown
        return done

    return run


def errors_of(stderr: str) -> list[str]:
    """The error messages, each with the lines that follow it."""
    messages: list[str] = []
    for line in stderr.splitlines():
        logged = re.match(r"\d{4}-\d\d-\d\d \S+ ([A-Z]+) (.*)", line)
        if logged is None and messages:
            messages[-1] += f"\n{line}"
        elif logged is not None and logged[1] in ("ERROR", "CRITICAL"):
            messages.append(logged[2])
    return messages


def refused(done: Run, tmp_path: Path) -> str:
    """The one message of a run that ended with 2 before anything was done."""
    assert done.code == 2, done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()
    (message,) = errors_of(done.stderr)
    return message


# --- the configuration ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("secret_key:", "secret_kye:", "6: download_items[0].secret_kye", "'secret_key'"),
        ("file: k", "fiel: k", "10: download_items[0].buckets[0].items[0]", "'file'"),
        (
            "    buckets",
            "    secret_key_file: /x\n    buckets",
            "7: download_items[0].secret_key_file",
            "not both",
        ),
        ("type: s3", "type: s33", "2: download_items[0].type", "'s3'"),
        ("name: models", "secret_key: x", "6", "duplicate key 'secret_key'"),
        (
            "target_path: k",
            "# no target",
            "10: download_items[0].buckets[0].items[0].target_path",
            "required",
        ),
        (f"secret_key: {CANARY}", f"secret_key: *{CANARY}", "6", "not valid YAML"),
        (f"secret_key: {CANARY}", f"secret_key: !{CANARY} x", "6", ""),
        (f"secret_key: {CANARY}", f'secret_key: "{CANARY}', "", "a quote is opened"),
        ("    buckets", "\t buckets", "7", "a tab"),
        ("download_items", "a: 1\n---\ndownload_items", "2", "a second document"),
        (f"secret_key: {CANARY}", f"secret_key: !!bool {CANARY}", "6", ""),
        ("download_items", f"%{CANARY}\ndownload_items", "1", "not valid YAML"),
        (f"secret_key: {CANARY}", "secret_key: 0123", "6: download_items[0].secret_key", "quotes"),
        (f"secret_key: {CANARY}", "secret_key: ''", "6: download_items[0].secret_key", "empty"),
    ],
    ids=[
        "misspelled key",
        "misspelled item",
        "both forms",
        "unknown type",
        "duplicate key",
        "no target",
        "undefined alias",
        "unknown tag",
        "open quote",
        "tab",
        "two documents",
        "wrong tag",
        "directive",
        "number",
        "empty secret",
    ],
)
def test_a_fault_in_the_file_is_one_message_with_line_and_field(
    failing: Kaiwo, tmp_path: Path, old: str, new: str, place: str, words: str
) -> None:
    assert old in TASK
    message = refused(failing(TASK.replace(old, new, 1)), tmp_path)
    assert message.startswith(f"{tmp_path / 'config.yaml'}:{place}{place and ': '}")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["missing", "empty", "blank", "directory", "binary"])
def test_a_secret_file_that_holds_none_is_one_message_with_line_field_and_path(
    failing: Kaiwo, tmp_path: Path, kind: str
) -> None:
    secret = tmp_path / "secret"
    match kind:
        case "empty":
            secret.touch()
        case "blank":
            secret.write_text("\n")
        case "directory":
            secret.mkdir()
        case "binary":
            secret.write_bytes(CANARY.encode() + b"\xff\xfe")
    config = TASK.replace(f"secret_key: {CANARY}", f"secret_key_file: {secret}")
    message = refused(failing(config), tmp_path)
    place = f"{tmp_path / 'config.yaml'}:6: download_items[0].secret_key_file: "
    assert message.startswith(place)
    assert str(secret) in message.removeprefix(place)
    assert "\n" not in message


def test_validate_opens_no_secret_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(TASK.replace(f"secret_key: {CANARY}", "secret_key_file: /no/such/file"))
    command = [sys.executable, "-m", "kaiwo", "validate", str(config)]
    done = subprocess.run(
        command, env=clean_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert CANARY not in done.stdout


@pytest.mark.parametrize("name", ["", "none.yaml", "folder"])
def test_a_config_file_that_cannot_be_read_is_one_message(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-m", "kaiwo.downloader", *([str(tmp_path / name)] if name else [])]
    done = subprocess.run(
        command, env=clean_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    if name:
        (message,) = errors_of(done.stderr)
        assert message.startswith(f"{tmp_path / name}: ")
    else:
        assert "CONFIG_FILE" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--max-workers", "0"),
        ("--max-workers", "many"),
        ("--log-level", "LOUD"),
        ("--retries", "-1"),
        ("--startup-wait", "-1"),
        ("--startup-wait", "soon"),
        ("--stall-timeout", "0"),
        ("--deadline", "0"),
        ("--deadline", "soon"),
        ("--log-format", "xml"),
        ("--verify", "md5"),
        ("--progress", "dots"),
        ("--no-such-option", "1"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_named(failing: Kaiwo, tmp_path: Path, options: Sequence[str]) -> None:
    done = failing(TASK, *options)
    assert (done.code, done.stdout) == (2, "")
    assert not (tmp_path / "out").exists()
    assert done.stderr.count(options[0]) >= 1
    assert len(re.findall("(?m)^(Error|.*ERROR)", done.stderr)) == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [("KAIWO_MAX_WORKERS", CANARY), ("KAIWO_LOG_LEVEL", "LOUD"), ("KAIWO_RETRIES", "-1")],
)
def test_a_wrong_variable_of_the_environment_is_named(
    failing: Kaiwo, tmp_path: Path, variable: str, value: str
) -> None:
    message = refused(failing(TASK, env={variable: value}), tmp_path)
    assert variable in message


def test_the_log_level_of_the_environment_may_be_written_small(
    kaiwo: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), ITEMS)
    done = kaiwo({"download_items": [task]}, env={"KAIWO_LOG_LEVEL": "error"})
    assert (done.code, done.stderr) == (0, "")


def test_a_file_whose_target_is_a_folder_is_one_message_before_anything_is_written(
    failing: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    (tmp_path / "out" / "k").mkdir(parents=True)
    bucket = s3.new_bucket({"k": b"data", "l": b"data"})
    items = [*ITEMS, {"file": "l", "target_path": "l"}]
    done = failing({"download_items": [s3.task(bucket, items, secret_key=CANARY)]})
    assert (done.code, done.stdout) == (2, "")
    (message,) = errors_of(done.stderr)
    assert f"{tmp_path / 'out' / 'k'}: a folder is where the file should go" in message
    assert f"s3://{bucket}/k" in message
    assert f"{tmp_path / 'config.yaml'}:" in message
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("target", ["blocked", "blocked/deeper/"])
def test_a_file_where_a_target_needs_a_folder_is_a_conflict(
    failing: Kaiwo, s3: Store, tmp_path: Path, target: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "blocked").write_bytes(b"mine")
    items = [{"folder": "", "target_path": target}]
    task = s3.task(s3.new_bucket({"k": b"data"}), items, secret_key=CANARY)
    done = failing({"download_items": [task]})
    assert (done.code, done.stdout) == (2, "")
    (message,) = errors_of(done.stderr)
    assert "a file is where a folder is needed" in message
    assert tree(tmp_path / "out") == {"blocked": b"mine"}


def test_a_target_where_no_folder_can_be_made_is_a_disk_failure(failing: Kaiwo, s3: Store) -> None:
    # Not even root can make a folder in /proc.
    items = [{"file": "k", "target_path": "/proc/kaiwo-test/k"}]
    task = s3.task(s3.new_bucket({"k": b"data"}), items, secret_key=CANARY)
    done = failing({"download_items": [task]})
    assert (done.code, done.stdout) == (6, "")
    assert "/proc/kaiwo-test" in done.stderr
    assert done.report["items"][0]["error"]["kind"] == "disk"


# --- what an ordinary user may not ------------------------------------------------------------


def _give_up_the_rights_of_root() -> None:
    """Let permissions count for root, too, in the program that is started next (Linux)."""
    if sys.platform == "linux":
        drop, override, read_search = 24, 1, 2
        for capability in (override, read_search):
            ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


@pytest.fixture
def as_ordinary_user(tmp_path: Path) -> Callable[[Path], Run]:
    """The command on a file, without the right to pass over permissions."""
    locked = tmp_path / "locked"
    locked.touch(mode=0)
    ordinary: dict[str, Any] = {"capture_output": True, "text": True}
    ordinary["preexec_fn"] = _give_up_the_rights_of_root
    if subprocess.run(["cat", str(locked)], check=False, **ordinary).returncode == 0:
        pytest.skip("root can read and write everything here")

    def run(config: Path) -> Run:
        command = [sys.executable, "-m", "kaiwo.downloader", str(config)]
        environment = clean_environment(tmp_path)
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, **ordinary)
        assert CANARY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return Run(done.returncode, done.stdout, done.stderr, {})

    return run


def test_a_secret_file_that_may_not_be_read_is_one_message(
    as_ordinary_user: Callable[[Path], Run], tmp_path: Path
) -> None:
    secret, config = tmp_path / "secret", tmp_path / "config.yaml"
    secret.write_text(CANARY)
    secret.chmod(0)
    config.write_text(TASK.replace(f"secret_key: {CANARY}", f"secret_key_file: {secret}"))
    message = refused(as_ordinary_user(config), tmp_path)
    place = f"{config}:6: download_items[0].secret_key_file: "
    assert message.startswith(place)
    assert f"{secret}: Permission denied" in message


def test_a_config_file_that_may_not_be_read_is_one_message(
    as_ordinary_user: Callable[[Path], Run], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.touch(mode=0)
    message = refused(as_ordinary_user(config), tmp_path)
    assert message.startswith(f"{config}: ")
    assert "Permission denied" in message


@pytest.mark.parametrize("target", ["k", "deeper/k"])
def test_a_target_that_may_not_be_written_is_a_disk_failure_with_a_hint(
    as_ordinary_user: Callable[[Path], Run], s3: Store, tmp_path: Path, target: str
) -> None:
    out, config = tmp_path / "out", tmp_path / "config.yaml"
    out.mkdir(mode=0o555)
    items = [{"file": "k", "target_path": target}]
    task = s3.task(s3.new_bucket({"k": b"data"}), items, secret_key=CANARY)
    config.write_text(yaml.safe_dump({"download_root": str(out), "download_items": [task]}))
    done = as_ordinary_user(config)
    assert (done.code, done.stdout) == (6, ""), done.stderr
    assert "Permission denied" in done.stderr
    assert "give this user the right to write there" in done.stderr
    assert list(out.iterdir()) == []


# --- credentials ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def guarded_hub() -> Iterator[Store]:
    """A Hub that knows one token, with a gated repository and a private one."""
    with stores.hub("--token=hf_right") as store:
        for name, settings in (("gated", {"gated": True}), ("private", {"private": True})):
            store.fill(f"acme/{name}", {"k": b"hidden"})
            path = Path(store.settings["root"], "models", f"acme--{name}", ".kaiwo-hub.json")
            path.write_text(json.dumps(settings))
        store.fill("acme/open", {"k": b"data"})
        yield store


def denied(done: Run, tmp_path: Path, url: str) -> None:
    """Nothing is there, and the store's refusal is told with the URL."""
    assert done.code == 3, done.stderr
    assert done.stdout == ""
    assert tree(tmp_path / "out") == {}
    assert any(url in message for message in errors_of(done.stderr))
    assert done.report["exit_code"] == 3
    assert [item["error"]["kind"] for item in done.report["items"]] == ["credentials"]
    assert url in done.report["items"][0]["source"]
    assert "attempt 2" not in done.stderr


@pytest.mark.parametrize(
    ("field", "items"),
    [
        ("secret_key", ITEMS),
        ("secret_key", [{"folder": "", "target_path": "t"}]),
        ("access_key_id", ITEMS),
        ("session_token", ITEMS),
        ("session_token", [{"folder": "", "target_path": "t"}]),
    ],
    ids=["secret, file", "secret, folder", "id, file", "token, file", "token, folder"],
)
def test_wrong_s3_keys_are_refused_credentials(
    failing: Kaiwo, s3_signed: Store, tmp_path: Path, items: Any, field: str
) -> None:
    bucket = s3_signed.new_bucket({"k": b"data"})
    wrong = {field: CANARY.upper() if field == "access_key_id" else CANARY}
    done = failing({"download_items": [s3_signed.task(bucket, items, **wrong)]})
    assert CANARY.upper() not in done.stderr
    denied(done, tmp_path, f"s3://{bucket}/")


def test_a_service_account_with_another_key_is_refused_credentials(
    failing: Kaiwo, gcs: Store, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = json.loads(Path(gcs.settings["service_account_file"]).read_text())
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account | {"private_key": pem, "private_key_id": CANARY}))
    bucket = gcs.new_bucket({"k": b"data"})
    task = gcs.task(bucket, ITEMS, application_credentials_file=str(file))
    done = failing({"download_items": [task]})
    assert pem.splitlines()[1] not in done.stderr + json.dumps(dict(done.report))
    denied(done, tmp_path, f"gs://{bucket}/")


@pytest.mark.parametrize(
    "content",
    [
        CANARY,
        f'["{CANARY}"]',
        json.dumps({"type": "service_account", "private_key": CANARY}),
        json.dumps({"type": CANARY}),
        json.dumps(
            {
                "type": "service_account",
                "private_key": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n",
                "client_email": "a@b",
                "token_uri": "http://127.0.0.1:1/token",
            }
        ),
    ],
    ids=["no JSON", "a list", "half an account", "unknown type", "broken key"],
)
def test_a_service_account_file_that_is_none_is_one_message(
    failing: Kaiwo, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "account.json"
    file.write_text(content)
    task = {
        "type": "gcs",
        "endpoint_url": "http://127.0.0.1:1",
        "application_credentials_file": str(file),
        "buckets": [{"name": "b", "items": ITEMS}],
    }
    done = failing({"download_items": [task]})
    assert (done.code, done.stdout) == (2, "")
    assert "application_credentials" in "\n".join(errors_of(done.stderr))


@pytest.mark.parametrize("form", ["connection string", "key", "signature"])
def test_a_wrong_azure_key_is_refused_credentials(
    failing: Kaiwo, azure: Store, tmp_path: Path, form: str
) -> None:
    # Base64 of the right length.
    key = f"{CANARY}AAAA".ljust(86, "A") + "=="
    connection = azure.settings["connection_string"]
    fields: dict[str, str | None] = {
        "connection_string": connection.replace(azure.settings["account_key"], key)
    }
    if form != "connection string":
        names = ("account_name", "endpoint_url")
        fields = {"connection_string": None} | {name: azure.settings[name] for name in names}
        expired = f"sv=2021-08-06&se=2020-01-01&sr=c&sp=rl&sig={CANARY}%3D"
        fields |= {"account_key": key} if form == "key" else {"sas_token": expired}
    container = azure.new_bucket({"k": b"data"})
    done = failing({"download_items": [azure.task(container, ITEMS, **fields)]})
    denied(done, tmp_path, f"az://{container}/")


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        (CANARY, "connection_string"),
        (f"AccountKey={CANARY}A=", "connection_string"),
        (f"BlobEndpoint=http://127.0.0.1:1/a;AccountName=a;AccountKey={CANARY}!", ""),
    ],
    ids=["garbage", "no account", "no base64"],
)
def test_a_malformed_connection_string_is_one_message(
    failing: Kaiwo, tmp_path: Path, connection: str, words: str
) -> None:
    task = {
        "type": "azure-blob",
        "connection_string": connection,
        "containers": [{"name": "b", "items": ITEMS}],
    }
    done = failing({"download_items": [task]}, "--startup-wait", "0", "--retries", "0")
    assert (done.code, done.stdout) == (2, "")
    assert words in "\n".join(errors_of(done.stderr))


@pytest.mark.parametrize(
    ("repository", "token"),
    [
        ("acme/open", f"hf_{CANARY}"),
        ("acme/private", f"hf_{CANARY}"),
        ("acme/gated", "hf_right"),
        ("acme/gated", None),
    ],
)
def test_a_wrong_token_and_a_gated_repository_are_refused_credentials(
    failing: Kaiwo, guarded_hub: Store, tmp_path: Path, repository: str, token: str | None
) -> None:
    task = guarded_hub.task(repository, (), token=token, target_path="t")
    done = failing({"download_items": [task]})
    denied(done, tmp_path, f"hf://{repository}@")
    if repository == "acme/gated":
        assert "gated" in done.stderr


def test_not_even_debug_shows_a_secret(
    kaiwo: Kaiwo, s3_signed: Store, azure: Store, gcs: Store, guarded_hub: Store, tmp_path: Path
) -> None:
    key = f"{CANARY}AAAA".ljust(86, "A") + "=="
    connection = azure.settings["connection_string"]
    connection = connection.replace(azure.settings["account_key"], key)
    address = s3_signed.settings["endpoint_url"].replace("://", f"://user:{CANARY}@")
    signed = [
        {"file": f"{address}/b/k?{name}={CANARY}", "target_path": f"url-{name}"}
        for name in ("sig", "X-Amz-Signature", "token")
    ]
    tasks = [
        s3_signed.task("b", ITEMS, secret_key=CANARY),
        azure.task("b", ITEMS, connection_string=connection),
        gcs.task("no-such-bucket", ITEMS, application_credentials_file=None, token=CANARY),
        guarded_hub.task("acme/open", (), token=f"hf_{CANARY}", target_path="t"),
        {"type": "url", "items": signed, "options": {"headers": {"X-Secret": CANARY}}},
    ]
    log = tmp_path / "termination-log"
    options = ("--log-level", "DEBUG", "--retries", "0")
    done = kaiwo({"download_items": tasks}, *options, env={"KAIWO_TERMINATION_LOG": str(log)})
    assert done.code == 3, done.stderr
    for shown in (done.stdout, done.stderr, json.dumps(dict(done.report)), log.read_text()):
        assert CANARY not in shown


# --- what is not there ------------------------------------------------------------------------

EMPTY_ITEMS: list[dict[str, Any]] = [
    {"folder": "no/such/folder", "target_path": "t1"},
    {"folder": "data", "target_path": "t2", "glob": "*.csv"},
    {"folder": "dat", "target_path": "t3"},
]


def _secret(store: Store) -> dict[str, str]:
    """The canary in a field of which the server does not care."""
    return {"secret_key": CANARY} if store.type == "s3" else {}


def test_whatever_is_missing_in_a_store_is_named_and_the_rest_is_fetched(
    failing: Kaiwo, store: Store, tmp_path: Path
) -> None:
    bucket = store.new_bucket({"data/k.txt": b"data"})
    items = [
        {"file": "data/k.txt", "target_path": "k"},
        {"file": "data/none", "target_path": "t0"},
        *EMPTY_ITEMS,
    ]
    tasks = [
        store.task(bucket, items, **_secret(store)),
        store.task("no-such-bucket", [{"file": "k", "target_path": "t4"}], **_secret(store)),
        store.task("no-such-bucket", [{"folder": "", "target_path": "t5"}], **_secret(store)),
    ]
    done = failing({"download_items": tasks})
    assert (done.code, done.stdout) == (4, "")
    assert tree(tmp_path / "out") == {"k": b"data"}
    failed = [item for item in done.report["items"] if item["status"] == "failed"]
    assert {item["error"]["kind"] for item in failed} == {"not found"}
    scheme = {"s3": "s3", "gcs": "gs", "azure-blob": "az"}[store.type]
    assert [item["source"].removeprefix(f"{scheme}://{bucket}/") for item in failed[:4]] == [
        "data/none",
        "no/such/folder/**/*",
        "data/*.csv",
        "dat/**/*",
    ]
    assert all(f"{scheme}://no-such-bucket/" in item["source"] for item in failed[4:])
    assert len(failed) == 6
    assert all(
        any(item["source"] in message for message in errors_of(done.stderr)) for item in failed[:1]
    )
    # Each message leads to its line of the file.
    assert all(f"{tmp_path / 'config.yaml'}:" in item["error"]["message"] for item in failed)


def test_nothing_matched_is_fine_where_that_is_allowed(
    failing: Kaiwo, store: Store, tmp_path: Path
) -> None:
    bucket = store.new_bucket({"data/k.txt": b"data"})
    items = [item | {"allow_empty": True} for item in EMPTY_ITEMS]
    done = failing({"download_items": [store.task(bucket, items, **_secret(store))]})
    assert (done.code, done.report["files"]) == (0, 0)
    assert errors_of(done.stderr) == []


def test_one_item_that_may_be_empty_does_not_excuse_another(
    failing: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    items = [EMPTY_ITEMS[0] | {"allow_empty": True}, EMPTY_ITEMS[1]]
    done = failing({"download_items": [s3.task(s3.new_bucket(), items, secret_key=CANARY)]})
    assert done.code == 4
    assert [item["source"].rpartition("/")[2] for item in done.report["items"]] == ["*.csv"]


@pytest.mark.parametrize("token", ["hf_right", None], ids=["known", "unknown"])
def test_whatever_is_missing_on_the_hub_is_named(
    failing: Kaiwo, guarded_hub: Store, token: str | None
) -> None:
    missing: list[tuple[str, dict[str, Any], str]] = [
        ("acme/none", {}, "acme/none"),
        ("acme/open", {"revision": "v9"}, "v9"),
        ("acme/open", {"files": ["k", "none.bin"]}, "none.bin"),
        ("acme/open", {"allow_patterns": ["*.bin"]}, "*.bin"),
        ("acme/open", {"repo_type": "dataset"}, "dataset"),
    ]
    tasks = [
        guarded_hub.task(repository, (), token=token, target_path=f"t{number}", **fields)
        for number, (repository, fields, _) in enumerate(missing)
    ]
    done = failing({"download_items": tasks})
    assert (done.code, done.stdout) == (4, ""), done.stderr
    found = [item["error"] for item in done.report["items"] if item["status"] == "failed"]
    assert [error["kind"] for error in found] == ["not found"] * len(missing)
    for error, (_, _, word) in zip(found, missing, strict=True):
        assert word in error["message"]


def test_nothing_matched_on_the_hub_is_fine_where_that_is_allowed(
    failing: Kaiwo, guarded_hub: Store, tmp_path: Path
) -> None:
    fields = {"allow_patterns": ["*.bin"], "allow_empty": True, "target_path": "t"}
    done = failing({"download_items": [guarded_hub.task("acme/open", (), **fields)]})
    assert (done.code, done.report["files"]) == (0, 0)


# --- a service that is not there --------------------------------------------------------------


@dataclass
class Child:
    """A running command, of which stderr is read as it comes."""

    process: "subprocess.Popen[str]"
    lines: list[str]

    def line_with(self, word: str) -> str:
        """The next line of stderr with that word; fails when there is none in time."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            left_s = max(deadline - time.monotonic(), 0.0)
            if not select.select([self.process.stderr], [], [], left_s)[0]:
                break
            line = self.process.stderr.readline()
            if not line:
                break
            self.lines.append(line)
            if word in line:
                return line
        pytest.fail(f"no {word!r} in stderr:\n{''.join(self.lines)}")

    def end(self, timeout_s: float = DEADLINE_S) -> tuple[int, str, str]:
        """Exit code, stdout and the whole stderr."""
        stdout, rest = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, stdout, "".join(self.lines) + rest


@contextlib.contextmanager
def started(
    tmp_path: Path, *tasks: Mapping[str, Any], options: Sequence[str] = ()
) -> Iterator[Child]:
    """The command, running; killed when the block is left before it has ended."""
    path = tmp_path / "config.yaml"
    document = {"download_root": str(tmp_path / "out"), "download_items": list(tasks)}
    path.write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "kaiwo.downloader", str(path), *options]
    report = ["--report", str(tmp_path / "report.json")]
    environment = {"KAIWO_TERMINATION_LOG": str(tmp_path / "termination-log")}
    process = subprocess.Popen(
        [*command, *report],
        cwd=tmp_path,
        env=clean_environment(tmp_path) | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        try:
            yield Child(process, [])
        finally:
            process.kill()


def absent(type_: str, address: str) -> dict[str, Any]:
    """A task whose service is at that address."""
    items = [{"name": "b", "items": ITEMS}]
    match type_:
        case "s3":
            keys = {"access_key_id": CANARY, "secret_key": CANARY, "region": "us-east-1"}
            return {"type": "s3", "endpoint_url": address, "buckets": items, **keys}
        case "gcs":
            return {"type": "gcs", "endpoint_url": address, "token": CANARY, "buckets": items}
        case "azure-blob":
            keys = {"account_name": "a", "account_key": f"{CANARY}A=", "endpoint_url": address}
            return {"type": "azure-blob", "containers": items, **keys}
    fields = {"repo_id": "o/r", "target_path": "t", "token": CANARY}
    return {"type": "hf", "endpoint_url": address, **fields}


@pytest.mark.parametrize("host", ["closed port", "unknown name"])
def test_a_service_that_is_not_there_is_waited_for_and_then_given_up(
    tmp_path: Path, host: str
) -> None:
    address = f"http://127.0.0.1:{servers.free_port()}"
    if host == "unknown name":
        address = "http://nowhere.invalid"
    tasks = [absent(type_, address) for type_ in ("s3", "gcs", "azure-blob", "hf")]
    options = ("--startup-wait", "2", "--retries", "0")
    start_s = time.monotonic()
    with started(tmp_path, *tasks, options=options) as child:
        child.line_with("WARNING")
        assert child.process.poll() is None, "it had ended before it warned"
        code, stdout, stderr = child.end()
    assert time.monotonic() - start_s >= 2.0
    assert (code, stdout) == (5, "")
    reason = "refused" if host == "closed port" else "unknown"
    warnings = [line for line in stderr.splitlines() if "WARNING" in line and reason in line]
    for url in ("s3://b/k", "gs://b/k", "az://b/k", "hf://o/r@main/"):
        assert any(url in line for line in warnings), url
        assert any(url in text and reason in text for text in errors_of(stderr)), url
    report = (tmp_path / "report.json").read_text()
    kinds = [item["error"]["kind"] for item in json.loads(report)["items"]]
    assert kinds == ["unreachable"] * 4
    assert CANARY not in stderr + report + (tmp_path / "termination-log").read_text()
    assert "Traceback" not in stderr


def test_by_default_a_service_that_is_not_there_is_waited_for_half_a_minute() -> None:
    command = [sys.executable, "-m", "kaiwo", "download", "--help"]
    environment = clean_environment(Path("/nowhere")) | {"COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    described = done.stdout.partition("--startup-wait")[2]
    assert re.match(r"[^\[]*\[default:\s+30\]", described)


class Pipe:
    """Passes connections on to a server as they are, or out of TLS; counts those that came."""

    def __init__(self, upstream: str, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        host, _, upstream_port = upstream.partition("://")[2].partition("/")[0].partition(":")
        self._upstream = host, int(upstream_port)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept nothing more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError))
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            stack.enter_context(connection)
            upstream = stack.enter_context(socket.create_connection(self._upstream))
            back = threading.Thread(target=_copy, args=(upstream, connection), daemon=True)
            back.start()
            _copy(connection, upstream)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Everything that comes, until one side is gone."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def through(store: Store, bucket: str, scheme: str, port: int, **fields: Any) -> dict[str, Any]:
    """A task for ITEMS of a store, by way of a pipe's port on localhost."""
    address = f"{scheme}://localhost:{port}"
    match store.type:
        case "azure-blob":
            names = ("account_name", "account_key")
            own: dict[str, Any] = {name: store.settings[name] for name in names}
            path = store.settings["account_name"]
            own |= {"connection_string": None, "endpoint_url": f"{address}/{path}"}
        case "hf":
            own = {"endpoint_url": address, "target_path": ".", "files": ["k"]}
        case _:
            own = {"endpoint_url": address}
    return store.task(bucket, ITEMS, **own, **fields)


@pytest.fixture(params=["s3", "gcs", "azure", "hub"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each provider in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found


def filled(store: Store) -> str:
    """A new bucket, or repository, with the object k."""
    if store.type != "hf":
        return store.new_bucket({"k": b"data"})
    store.fill("acme/errors", {"k": b"data"})
    return "acme/errors"


def test_a_service_that_comes_up_while_it_is_waited_for_is_used(
    any_store: Store, tmp_path: Path
) -> None:
    bucket, port = filled(any_store), servers.free_port()
    task = through(any_store, bucket, "http", port)
    with started(tmp_path, task, options=("--startup-wait", "60")) as child:
        child.line_with("WARNING")
        with contextlib.closing(Pipe(any_store.settings["endpoint_url"], port)):
            code, stdout, stderr = child.end()
    assert (code, stdout) == (0, ""), stderr
    assert tree(tmp_path / "out") == {"k": b"data"}
    assert errors_of(stderr) == []


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate that nobody trusts, for localhost, and a server's TLS with it."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kaiwo test")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate, private = folder / "ca.pem", folder / "key.pem"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return certificate, context


def test_an_untrusted_certificate_ends_the_run_at_once_and_ca_bundle_makes_it_trusted(
    failing: Kaiwo, any_store: Store, authority: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    certificate, context = authority
    bucket = filled(any_store)
    pipe = Pipe(any_store.settings["endpoint_url"], tls=context)
    with contextlib.closing(pipe):
        fields = {"secret_key": CANARY} if any_store.type == "s3" else {}
        task = through(any_store, bucket, "https", pipe.port, **fields)
        done = failing({"download_items": [task]}, "--startup-wait", "600")
        assert (done.code, done.stdout) == (5, ""), done.stderr
        assert "WARNING" not in done.stderr
        assert "ca_bundle" in "\n".join(errors_of(done.stderr))
        assert done.report["items"][0]["error"]["kind"] == "certificate"
        # obstore's, and OpenSSL's second opinion
        assert pipe.connections <= 2
        assert tree(tmp_path / "out") == {}
        task["ca_bundle"] = str(certificate)
        done = failing({"download_items": [task]})
        assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": b"data"}


@pytest.mark.parametrize("type_", ["s3", "gcs", "azure-blob", "hf"])
def test_a_ca_bundle_that_holds_no_certificate_is_a_fault_of_the_configuration(
    failing: Kaiwo, tmp_path: Path, type_: str
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(CANARY)
    task = absent(type_, "https://127.0.0.1:1") | {"ca_bundle": str(bundle)}
    done = failing({"download_items": [task]}, "--startup-wait", "0", "--retries", "0")
    assert (done.code, done.stdout) == (2, ""), done.stderr
    assert "ca_bundle" in "\n".join(errors_of(done.stderr))


# --- the report -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (TASK.replace("secret_key:", "secret_kye:"), 2),
        (TASK.replace(f"secret_key: {CANARY}", "secret_key_file: /no/such/file"), 2),
        (TASK, 5),
    ],
    ids=["misspelled key", "missing secret file", "absent service"],
)
def test_a_failure_is_told_in_the_report_and_the_termination_message(
    failing: Kaiwo, tmp_path: Path, config: str, code: int
) -> None:
    patience = ("--startup-wait", "0", "--retries", "0")
    done = failing(config, *patience)
    assert done.code == code
    termination = (tmp_path / "termination-log").read_bytes()
    assert len(termination) <= 4096
    message = json.loads(termination)
    assert (message["version"], message["ok"], message["exit_code"]) == (1, False, code)
    assert message["failures"][0]["message"] in done.stderr
    assert "items" not in message
    assert (done.report["ok"], done.report["exit_code"]) == (False, code)


@pytest.mark.parametrize(
    ("config", "code"),
    [(TASK.replace("secret_key:", "secret_kye:"), 2), (TASK, 5)],
    ids=["misspelled key", "absent service"],
)
def test_the_report_of_a_failure_is_all_that_goes_to_stdout(
    failing: Kaiwo, config: str, code: int
) -> None:
    done = failing(config, "--startup-wait", "0", "--retries", "0", "--report", "-")
    assert done.code == code
    report = json.loads(done.stdout)
    fields = ("version", "ok", "exit_code", "seconds", "files", "bytes", "transferred_bytes")
    assert all(name in report for name in (*fields, "downloaded", "unchanged", "resumed"))
    assert (report["ok"], report["exit_code"]) == (False, code)


def test_the_termination_message_of_many_failures_is_short_json(
    failing: Kaiwo, s3: Store, tmp_path: Path
) -> None:
    items = [{"file": f"é{i}" + "x" * 200, "target_path": f"t{i}"} for i in range(100)]
    done = failing({"download_items": [s3.task(s3.new_bucket(), items, secret_key=CANARY)]})
    assert done.code == 4
    termination = (tmp_path / "termination-log").read_bytes()
    assert len(termination) <= 4096
    message = json.loads(termination)
    assert message["failed"] == 100
    assert 1 <= len(message["failures"]) < 100


@pytest.mark.parametrize("fault", ["no/such/folder/report.json", "."])
def test_a_report_that_cannot_be_written_is_a_disk_failure(
    failing: Kaiwo, s3: Store, tmp_path: Path, fault: str
) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), ITEMS, secret_key=CANARY)
    done = failing({"download_items": [task]}, "--report", str(tmp_path / fault))
    assert (done.code, done.stdout) == (6, "")
    assert str(tmp_path) in "\n".join(errors_of(done.stderr))


def test_a_termination_log_that_cannot_be_written_does_not_hide_the_failure(
    failing: Kaiwo, tmp_path: Path
) -> None:
    config = TASK.replace("secret_key:", "secret_kye:")
    done = failing(config, env={"KAIWO_TERMINATION_LOG": str(tmp_path / "no" / "log")})
    assert "secret_kye" in refused(done, tmp_path)


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (("missing", "absent"), 4),
        (("disk", "absent"), 6),
        (("disk", "missing"), 4),
        (("disk", "absent", "missing"), 4),
    ],
    ids=str,
)
def test_of_several_kinds_of_failure_one_is_the_exit_code(
    failing: Kaiwo, s3: Store, tmp_path: Path, kinds: Sequence[str], code: int
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    tasks = {
        "missing": s3.task(bucket, [{"file": "none", "target_path": "none"}], secret_key=CANARY),
        "absent": absent("s3", f"http://127.0.0.1:{servers.free_port()}"),
        "disk": s3.task(bucket, [{"file": "k", "target_path": "/proc/no/k"}], secret_key=CANARY),
    }
    # What can be fetched is, whatever else fails.
    fine = s3.task(bucket, [{"file": "k", "target_path": "fine"}], secret_key=CANARY)
    config = {"download_items": [fine, *(tasks[kind] for kind in kinds)]}
    done = failing(config, "--retries", "0", "--startup-wait", "0")
    assert (done.code, done.report["exit_code"]) == (code, code)
    assert (done.report["failed"], done.report["downloaded"]) == (len(kinds), 1)
    termination = json.loads((tmp_path / "termination-log").read_text())
    assert (termination["exit_code"], len(termination["failures"])) == (code, len(kinds))
    assert tree(tmp_path / "out") == {"fine": b"data"}


def test_a_termination_log_that_is_a_pipe_is_not_waited_for(failing: Kaiwo, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    config = TASK.replace("secret_key:", "secret_kye:")
    done = failing(config, env={"KAIWO_TERMINATION_LOG": str(tmp_path / "pipe")})
    assert (done.code, len(errors_of(done.stderr))) == (2, 1)
    assert "cannot write the termination message" in done.stderr


# --- signals ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def slow(s3: Store) -> Iterator[servers.Server]:
    """S3 that holds every answer with object bytes back for a minute."""
    upstream = f"s3={s3.settings['endpoint_url']}"
    with servers.start("counting", "--upstream", upstream, "--delay-s=60") as server:
        yield server


@pytest.mark.parametrize(
    ("number", "code", "size"),
    [(signal.SIGTERM, 143, 4), (signal.SIGTERM, 143, 20 << 20), (signal.SIGINT, 130, 20 << 20)],
    ids=["SIGTERM, small", "SIGTERM, large", "SIGINT, large"],
)
def test_a_signal_ends_a_download_soon_and_leaves_no_target(
    s3: Store, slow: servers.Server, tmp_path: Path, number: signal.Signals, code: int, size: int
) -> None:
    bucket = s3.new_bucket({"k": bytes(size)})
    task = s3.task(bucket, ITEMS, endpoint_url=slow.settings["s3"], secret_key=CANARY)
    with started(tmp_path, task) as child:
        assert _until(functools.partial(_has_asked_for, slow.settings["stats"], bucket))
        child.process.send_signal(number)
        ended, stdout, stderr = child.end(timeout_s=5.0)
    assert (ended, stdout) == (code, "")
    assert not (tmp_path / "out" / "k").exists()
    assert [number.name in message for message in errors_of(stderr)] == [True]
    termination = (tmp_path / "termination-log").read_text()
    assert json.loads(termination)["exit_code"] == code
    report = (tmp_path / "report.json").read_text()
    assert json.loads(report)["exit_code"] == code
    assert CANARY not in stderr + termination + report
    assert "Traceback" not in stderr


# Many lines, and more than once: a signal that comes in the middle of one must not get lost there.
@pytest.mark.parametrize("attempt", range(5))
def test_a_signal_ends_the_wait_for_a_service(tmp_path: Path, attempt: int) -> None:
    task = absent("s3", f"http://127.0.0.1:{servers.free_port()}")
    items = [{"file": f"k{number}", "target_path": f"t{number}"} for number in range(200)]
    task["buckets"] = [{"name": "b", "items": items}]
    with started(tmp_path, task, options=("--startup-wait", "600")) as child:
        child.line_with("WARNING")
        child.process.terminate()
        code, stdout, stderr = child.end(timeout_s=5.0)
    assert (code, stdout) == (143, "")
    assert CANARY not in stderr
    assert "Traceback" not in stderr


def test_a_deadline_ends_a_download_and_keeps_what_is_in_place(
    s3: Store, slow: servers.Server, tmp_path: Path
) -> None:
    bucket = s3.new_bucket({"k": b"data"})
    fine = s3.task(bucket, [{"file": "k", "target_path": "fine"}])
    never = s3.task(bucket, ITEMS, endpoint_url=slow.settings["s3"], secret_key=CANARY)
    with started(tmp_path, fine, never, options=("--deadline", "2", "--fsync")) as child:
        code, stdout, stderr = child.end(timeout_s=10.0)
    assert (code, stdout) == (8, ""), stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["exit_code"], report["downloaded"], report["failed"]) == (8, 1, 1)
    (failed,) = (item for item in report["items"] if item["error"])
    assert failed["error"]["kind"] == "deadline"
    assert (tmp_path / "out" / "fine").read_bytes() == b"data"
    assert not (tmp_path / "out" / "k").exists()


def _has_asked_for(stats: str, bucket: str) -> bool:
    """Whether a request for bytes of that bucket is in flight."""
    with urllib.request.urlopen(stats) as answer:
        counts = json.load(answer)
    asked = any(f"GET /{bucket}/k" in request["line"] for request in counts["log"])
    return asked and counts["in_flight"] > 0


def _until(condition: Callable[[], bool]) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if condition():
            return True
    return False
