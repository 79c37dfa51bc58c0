"""Credentials from the task and from the pod's environment: the store accepts the requests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import (
    ContainerClient,
)

from tests import servers
from tests.servers import web
from tests.support.azure import signature
from tests.support.bucket import client_of
from tests.support.command import Kaiwo, Run, tree
from tests.support.stores import Store

CANARY = "Kanarienvogel7"
ALL = [{"folder": "", "target_path": "."}]
OBJECTS = {"k": b"data", "d/b c": b"more"}
QUICK = ("--startup-wait", "0", "--retries", "0", "--log-level", "DEBUG")


@pytest.fixture
def run(kaiwo: Kaiwo) -> Callable[..., Run]:
    """Runs one task, and sees that neither its output nor its report holds the canary."""

    def one(task: dict[str, Any], **env: str) -> Run:
        done = kaiwo({"download_items": [task]}, *QUICK, env=env)
        assert CANARY not in done.stdout + done.stderr + json.dumps(dict(done.report))
        return done

    return one


def arrived(done: Run, tmp_path: Path) -> None:
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == OBJECTS


# --- S3 ---------------------------------------------------------------------------------------

NO_KEYS: dict[str, None] = {"access_key_id": None, "secret_key": None}


def profiles(folder: Path, store: Store) -> str:
    """A file of credentials with one right profile."""
    path = folder / "credentials"
    keys = (store.settings["access_key_id"], store.settings["secret_key"])
    path.write_text("[right]\naws_access_key_id={}\naws_secret_access_key={}\n".format(*keys))
    return str(path)


def test_a_profile_wins_over_keys_of_the_environment(
    run: Kaiwo, s3_signed: Store, tmp_path: Path
) -> None:
    task = s3_signed.task(s3_signed.new_bucket(OBJECTS), ALL, **NO_KEYS, profile="right")
    env = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": CANARY}
    env["AWS_SHARED_CREDENTIALS_FILE"] = profiles(tmp_path, s3_signed)
    arrived(run(task, **env), tmp_path)


@pytest.mark.parametrize(
    "env",
    [
        {"AWS_PROFILE": "missing"},
        {"AWS_SESSION_TOKEN": CANARY, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": CANARY},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"},
        {"AWS_REGION": "o d d", "AWS_DEFAULT_REGION": "o d d", "AWS_RETRY_MODE": "odd"},
        {
            "S3FS_LOGGING_LEVEL": "DEBUG",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "NO_PROXY": "127.0.0.1",
        },
    ],
    ids=lambda env: next(iter(env)),
)
def test_what_the_task_says_wins_over_a_hostile_environment(
    run: Kaiwo, s3_signed: Store, tmp_path: Path, env: dict[str, str]
) -> None:
    arrived(run(s3_signed.task(s3_signed.new_bucket(OBJECTS), ALL), **env), tmp_path)


def test_anonymous_needs_no_profile(run: Kaiwo, s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket(OBJECTS)
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:*"}
    everybody["Resource"] = f"arn:aws:s3:::{bucket}/*"
    with contextlib.closing(client_of(s3)) as client:
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": [everybody]}))
    task = s3.task(bucket, ALL, **NO_KEYS, anonymous=True)
    arrived(run(task, AWS_PROFILE="missing"), tmp_path)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"AWS_CA_BUNDLE": "/missing.pem"}, "AWS_CA_BUNDLE"),
        ({"AWS_CONFIG_FILE": "{broken}"}, "AWS_CONFIG_FILE"),
        # The fast engine has no such modes.
        ({"AWS_DEFAULTS_MODE": "odd", "KAIWO_ENGINE": "fsspec"}, "InvalidDefaultsMode"),
    ],
)
def test_settings_of_the_pod_that_cannot_be_used_are_named(
    run: Kaiwo, s3: Store, tmp_path: Path, env: dict[str, str], words: str
) -> None:
    broken = tmp_path / "broken"
    broken.write_text(f"[default\n{CANARY}")
    done = run(s3.task("b", ALL), **{name: env[name].format(broken=broken) for name in env})
    assert done.code == 2, done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    ("algorithm", "whole", "verified"),
    [
        (None, None, "md5-5242880"),
        ("SHA256", None, "md5-5242880"),
        ("CRC32", "FULL_OBJECT", "crc32"),
        ("CRC64NVME", None, "crc64nvme"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_an_upload_in_parts_is_checked_by_what_is_stated_of_the_whole_else_by_its_etag(
    run: Kaiwo,
    s3: Store,
    engine: str,
    tmp_path: Path,
    algorithm: str | None,
    whole: str | None,
    verified: str,
    count: int,
) -> None:
    bucket = s3.new_bucket()
    at = {"Bucket": bucket, "Key": "k"}
    kept = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    typed = {"ChecksumType": whole} if whole else {}
    pieces, parts = (*[b"x" * (5 << 20)] * count, b"y"), []
    with contextlib.closing(client_of(s3)) as client:
        upload = client.create_multipart_upload(**at, **kept, **typed)["UploadId"]
        for number, piece in enumerate(pieces, 1):
            part = client.upload_part(**at, **kept, UploadId=upload, PartNumber=number, Body=piece)
            told = {name: part[name] for name in part if name.startswith(("ETag", "Checksum"))}
            parts.append({"PartNumber": number, **told})
        client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
    done = run(s3.task(bucket, ALL), KAIWO_ENGINE=engine)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"k": b"".join(pieces)}
    checksum = done.report["items"][0]["checksum"]
    assert (checksum["algorithm"], checksum["verified"]) == (verified, True)


# --- Google Cloud Storage ---------------------------------------------------------------------


@pytest.mark.parametrize("field", ["application_credentials", "token_file", "anonymous"])
def test_every_way_into_gcs_works(run: Kaiwo, gcs: Store, tmp_path: Path, field: str) -> None:
    (tmp_path / "token").write_text(f"{CANARY}\r\n")
    value = {
        "application_credentials": Path(gcs.settings["service_account_file"]).read_text(),
        "token_file": str(tmp_path / "token"),
        "anonymous": True,
    }[field]
    fields = {"application_credentials_file": None, field: value}
    env = {"GOOGLE_APPLICATION_CREDENTIALS": "/missing", "FSSPEC_GCS_TOKEN": CANARY}
    arrived(run(gcs.task(gcs.new_bucket(OBJECTS), ALL, **fields), **env), tmp_path)


@pytest.mark.parametrize("named", [None, "{folder}", "{folder}/garbage"])
def test_without_google_credentials_the_run_ends_at_once(
    run: Kaiwo, tmp_path: Path, named: str | None
) -> None:
    (tmp_path / "garbage").write_text(CANARY)
    task = {"type": "gcs", "buckets": [{"name": "b", "items": ALL}]}
    path = named and named.format(folder=tmp_path)
    # No metadata service, however the machine of the test is called.
    env = {"NO_GCE_CHECK": "true"} | ({"GOOGLE_APPLICATION_CREDENTIALS": path} if path else {})
    done = run(task, **env)
    assert done.code == 3, done.stderr
    assert "GOOGLE_APPLICATION_CREDENTIALS" in done.stderr


# --- Azure ------------------------------------------------------------------------------------


HOSTILE_AZURE = {
    "AZURE_STORAGE_CONNECTION_STRING": CANARY,
    "AZURE_STORAGE_ACCOUNT_NAME": "other",
    "AZURE_STORAGE_ACCOUNT_KEY": CANARY,
    "AZURE_STORAGE_SAS_TOKEN": CANARY,
    "AZURE_STORAGE_ANON": "true",
}


@pytest.mark.parametrize("form", ["{}", " ?{} \n", "connection string", "key", "wrapped"])
def test_every_way_into_azure_works_in_a_hostile_environment(
    run: Kaiwo, azure: Store, tmp_path: Path, form: str
) -> None:
    container, settings = azure.new_bucket(OBJECTS), azure.settings
    sas, endpoint = signature(azure, container), settings["endpoint_url"]
    file = tmp_path / "secret"
    fields: dict[str, Any] = {"connection_string": None, "endpoint_url": endpoint}
    if form == "connection string":
        fields = {"connection_string": f"BlobEndpoint={endpoint}/;SharedAccessSignature=?{sas}"}
    elif form == "key":
        fields |= {name: settings[name] for name in ("account_name", "account_key")}
    elif form == "wrapped":
        file.write_text("  " + settings["connection_string"].replace(";", " ;\n ") + "\n")
        fields = {"connection_string": None, "connection_string_file": str(file)}
    else:
        file.write_text(form.format(sas))
        fields["sas_token_file"] = str(file)
    arrived(run(azure.task(container, ALL, **fields), **HOSTILE_AZURE), tmp_path)


def test_a_signature_for_one_blob_is_enough_for_that_blob(
    run: Kaiwo, azure: Store, tmp_path: Path
) -> None:
    container = azure.new_bucket(OBJECTS)
    fields = {"connection_string": None, "endpoint_url": azure.settings["endpoint_url"]}
    fields["sas_token"] = signature(azure, container, blob="k")
    items = [{"file": "k", "target_path": "k"}]
    assert run(azure.task(container, items, **fields)).code == 0
    assert tree(tmp_path / "out") == {"k": b"data"}
    assert run(azure.task(container, ALL, **fields)).code == 3


def test_anonymous_reads_public_containers_only(run: Kaiwo, azure: Store, tmp_path: Path) -> None:
    container, endpoint = azure.new_bucket(OBJECTS), azure.settings["endpoint_url"]
    fields = {"connection_string": None, "endpoint_url": endpoint, "anonymous": True}
    task = azure.task(container, ALL, **fields)
    assert run(task).code == 3
    connection = azure.settings["connection_string"]
    with ContainerClient.from_connection_string(connection, container) as client:
        client.set_container_access_policy({}, public_access="container")
    arrived(run(task, **HOSTILE_AZURE), tmp_path)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"endpoint_url": "http://127.0.0.1:1/a"}, 3, "account_key"),
        ({"endpoint_url": f"https://a.invalid/?sig={CANARY}", "anonymous": True}, 2, "endpoint"),
        ({"tenant_id": "a/b", "client_id": "c", "client_secret": CANARY}, 2, "tenant_id"),
    ],
)
def test_what_cannot_sign_in_to_azure_is_told(
    run: Kaiwo, azure: Store, fields: dict[str, Any], code: int, words: str
) -> None:
    done = run(azure.task("b", ALL, connection_string=None, account_name="a", **fields))
    assert done.code == code, done.stderr
    assert words in done.stderr


# --- the Hub, and the web ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "env", "words"),
    [
        (f"{CANARY}\nX: y", {}, "token"),
        (f"{CANARY}\u00e9", {}, "token"),
        ("hf_x", {"http_proxy": "::::"}, "proxy"),
        ("hf_x", {"SSL_CERT_FILE": "/missing.pem"}, "SSL_CERT_FILE"),
    ],
)
def test_what_no_client_can_send_is_a_fault_of_the_configuration(
    run: Kaiwo, hub: Store, token: str, env: dict[str, str], words: str
) -> None:
    done = run(hub.task("acme/open", (), token=token, target_path="."), **env)
    assert done.code == 2, done.stderr
    assert words in done.stderr


def test_a_folder_of_a_web_server_arrives_and_an_empty_one_is_no_success(
    run: Kaiwo, tmp_path: Path
) -> None:
    for name, data in OBJECTS.items():
        path = tmp_path / "www/full" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "www/empty").mkdir()

    with web.folder(tmp_path / "www") as at:
        tasks = [
            {"type": "url", "items": [{"folder": f"{at}/{name}", "target_path": name}]}
            for name in ("full", "empty")
        ]
        codes = [run(task).code for task in tasks]
    assert codes == [0, 4]
    assert tree(tmp_path / "out") == {"full/k": b"data", "full/d/b c": b"more"}


def test_a_file_may_have_any_letters_and_a_service_that_is_down_is_told(
    run: Kaiwo, tmp_path: Path
) -> None:
    names = ["a b", "h#h", "q?m", "p%20c", "br[1]"]
    for name in names:
        (tmp_path / name).write_text(name)
    items = [{"file": f"file://{tmp_path}/{name}", "target_path": "t/"} for name in names]
    done = run({"type": "url", "items": items})
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out/t") == {name: name.encode() for name in names}
    address = f"ftp://u:{CANARY}@127.0.0.1:{servers.free_port()}/x"
    assert run({"type": "url", "items": [{"file": address, "target_path": "x"}]}).code == 5
