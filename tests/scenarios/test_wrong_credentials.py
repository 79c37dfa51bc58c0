"""Wrong credentials: exit code, one clear message, no secret, nothing written."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kaiwo.errors import CredentialsError
from kaiwo.objects import RemoteObject
from kaiwo.tasks.base import Engine
from tests.support import certificates, stores
from tests.support.command import Kaiwo, Run, tree
from tests.support.command_errors import CANARY, ITEMS, errors_of
from tests.support.engines import blob_endpoint, opened
from tests.support.stores import Store


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
    pem = certificates.rsa_key()
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


@pytest.fixture(scope="module")
def gcs_signed() -> Iterator[Store]:
    """Google Cloud Storage that wants a token."""
    with stores.gcs("--token=known") as store:
        yield store


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
@pytest.mark.parametrize("name", ["s3_signed", "gcs_signed", "azure"])
def test_a_refusal_of_anonymous_requests_speaks_of_no_credentials(
    request: pytest.FixtureRequest, name: str, engine: Engine
) -> None:
    store: Store = request.getfixturevalue(name)
    # Google's stand-in asks for the token first.
    bucket = "bucket" if name == "gcs_signed" else store.new_bucket({"k": b"data"})
    fields: dict[str, Any] = dict.fromkeys(store.fields) | {"anonymous": True}
    fields["endpoint_url"] = store.fields.get("endpoint_url")
    if name == "azure":
        fields["endpoint_url"] = blob_endpoint(store)
    with opened(store, bucket, engine, **fields) as source:
        attempts: list[Callable[[], object]] = [
            lambda: source.stat("k"),
            lambda: source.read(RemoteObject("k", 4), 0, 4),
        ]
        if name != "s3_signed":  # moto answers with 500
            attempts.append(lambda: list(source.list("")))
        for attempt in attempts:
            with pytest.raises(CredentialsError) as caught:
                attempt()
            told = "the service refuses anonymous requests; give credentials that may read this"
            assert caught.value.message.endswith(told)


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
    of_s3, of_gcs = ([{"file": "k", "target_path": name}] for name in ("s3", "gcs"))
    tasks = [
        s3_signed.task("b", of_s3, secret_key=CANARY),
        azure.task("b", ITEMS, connection_string=connection),
        gcs.task(
            "no-such-bucket",
            of_gcs,
            application_credentials_file=None,
            token=CANARY,
        ),
        guarded_hub.task("acme/open", (), token=f"hf_{CANARY}", target_path="t"),
        {"type": "url", "items": signed, "options": {"headers": {"X-Secret": CANARY}}},
    ]
    log = tmp_path / "termination-log"
    options = ("--log-level", "DEBUG", "--retries", "0")
    done = kaiwo({"download_items": tasks}, *options, env={"KAIWO_TERMINATION_LOG": str(log)})
    assert done.code == 3, done.stderr
    for shown in (done.stdout, done.stderr, json.dumps(dict(done.report)), log.read_text()):
        assert CANARY not in shown
