"""``kaiwo doctor``: what a support thread asks first, without network and without secrets."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.cli.addresses import VARIABLES, addresses
from kaiwo.cli.identities import identities
from tests.scenarios.test_fetch import run

ENTRA = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client"}
SECRET = "hunter2-0123456789abcdef"


def examined(home: Path, **variables: str) -> dict[str, Any]:
    done = run(["-m", "kaiwo", "doctor", "--json"], home, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert SECRET not in done.stdout
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_it_says_what_is_installed_and_what_is_allowed(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert found["kaiwo_version"] == kaiwo.__version__
    assert found["packages"]["obstore"]
    assert found["engines"]["fsspec"] == ["s3", "gcs", "azure-blob"]
    assert found["limits"]["processors"] >= 1
    assert set(found["identity"]) == {"s3", "gcs", "azure-blob", "hf"}
    assert all(each["found"].startswith(("n",)) for each in found["identity"].values())
    assert found["problems"] == []


def test_it_names_where_an_identity_comes_from_and_shows_no_secret(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        proxy = f"127.0.0.1:{listening.getsockname()[1]}"
        key = tmp_path / "key.json"
        account = {"type": "service_account", "client_email": "me@project.example"}
        key.write_text(json.dumps(account | {"private_key": SECRET}))
        variables = {
            "AWS_ACCESS_KEY_ID": SECRET,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "GOOGLE_APPLICATION_CREDENTIALS": str(key),
            "AZURE_CLIENT_ID": "client",
            "AZURE_CLIENT_SECRET": SECRET,
            "HF_TOKEN": SECRET,
            "HTTPS_PROXY": f"http://me:{SECRET}@{proxy}",
            "HF_ENDPOINT": f"http://me:{SECRET}@mirror.example:8080/hub",
            "KAIWO_RETRIES": "2",
        }
        found = examined(tmp_path, **variables)
        text = run(["-m", "kaiwo", "doctor"], tmp_path, **variables)
        try:
            listening.accept()
        except BlockingIOError:
            pass  # nobody has asked
        else:
            raise AssertionError("it uses the network")
    assert found["identity"] == {
        "s3": {
            "found": "keys",
            "sources": ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
            "problem": "",
        },
        "gcs": {
            "found": "service account me@project.example",
            "sources": ["GOOGLE_APPLICATION_CREDENTIALS"],
            "problem": "",
        },
        "azure-blob": {
            "found": "service principal",
            "sources": ["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"],
            "problem": "AZURE_TENANT_ID is missing",
        },
        "hf": {"found": "a token", "sources": ["HF_TOKEN"], "problem": ""},
    }
    assert found["proxies"]["https"] == f"http://{proxy}"
    assert found["addresses"] == {"HF_ENDPOINT": "http://***@mirror.example:8080/hub"}
    assert found["settings"] == {"variables": ["KAIWO_RETRIES"]}
    assert found["problems"] == ["azure-blob: AZURE_TENANT_ID is missing"]
    assert text.stdout.splitlines()[-1] == "problem: azure-blob: AZURE_TENANT_ID is missing"
    assert SECRET not in text.stdout


def test_what_the_environment_names_and_is_not_there_is_a_problem(tmp_path: Path) -> None:
    found = examined(
        tmp_path,
        REQUESTS_CA_BUNDLE="/nowhere/ca.pem",
        GOOGLE_APPLICATION_CREDENTIALS="/nowhere/key.json",
        ALL_PROXY="socks5://127.0.0.1:1",
    )
    assert [each.split()[0] for each in found["problems"]] == [
        "REQUESTS_CA_BUNDLE",
        "ALL_PROXY",
        "gcs:",
    ]


def test_a_section_that_cannot_be_made_is_a_problem_and_no_failure(tmp_path: Path) -> None:
    found = examined(tmp_path, HF_HUB_ETAG_TIMEOUT=SECRET)
    assert "identity: ValueError" in found["problems"]
    assert found["packages"]["obstore"]


@pytest.mark.parametrize(
    ("variables", "provider", "found", "problem"),
    [
        ({"GCE_METADATA_HOST": "h"}, "gcs", "service account of the metadata server", ""),
        ({"AZURE_FEDERATED_TOKEN_FILE": "/none"}, "azure-blob", "workload identity", "_ID is"),
        ({**ENTRA, "AZURE_FEDERATED_TOKEN_FILE": "/none"}, "azure-blob", "workload", "not exist"),
        ({**ENTRA, "AZURE_CLIENT_SECRET": SECRET}, "azure-blob", "service principal", ""),
        ({"IDENTITY_ENDPOINT": "http://h"}, "azure-blob", "managed identity", ""),
        ({"AZURE_STORAGE_CONNECTION_STRING": SECRET}, "azure-blob", "connection string", ""),
        ({"AZURE_TOKEN_CREDENTIALS": "dev"}, "azure-blob", "chosen by the SDK", ""),
    ],
)
def test_each_identity_of_the_environment_has_a_name(
    variables: dict[str, str],
    provider: str,
    found: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    loopback_only: None,
) -> None:
    for name in ("GCE_METADATA_HOST", *variables):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    identity = identities()[provider]
    assert identity.found.startswith(found)
    assert problem in identity.problem if problem else not identity.problem
    assert identity.sources[-1] == list(variables)[-1]


@pytest.mark.parametrize(
    ("name", "value", "shown", "problem"),
    [
        ("AWS_ENDPOINT_URL", f"http://h:9000/x?sig={SECRET}", "http://h:9000/x", "before '?'"),
        ("AWS_ENDPOINT_URL_S3", f"http://k:{SECRET}@h:9000", "http://***@h:9000", "no user"),
        ("AWS_REGION", "eu-west-1", "eu-west-1", ""),
        ("STORAGE_EMULATOR_HOST", "localhost:4443", "localhost:4443", ""),
        ("STORAGE_EMULATOR_HOST", f"u:{SECRET}@h:4443", "***@h:4443", "no user"),
        ("GCE_METADATA_HOST", f"{SECRET}@h", "***@h", ""),
        ("HF_ENDPOINT", "localhost:9001", "localhost:9001", "http://"),
        ("AZURE_AUTHORITY_HOST", "login.chinacloudapi.cn", "login.chinacloudapi.cn", ""),
        ("AZURE_STORAGE_ACCOUNT_NAME", f"AccountKey={SECRET}", "***", "letters"),
        ("AZURE_STORAGE_CONNECTION_STRING", f"AccountKey={SECRET}", "***", "malformed"),
        ("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=aKey={SECRET}", "***", "malformed"),
        (
            "AZURE_STORAGE_CONNECTION_STRING",
            f"BlobEndpoint=http://h:1/acct;SharedAccessSignature={SECRET}",
            "http://h:1/acct",
            "",
        ),
    ],
)
def test_where_requests_go_is_shown_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, shown: str, problem: str
) -> None:
    for each in VARIABLES:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, value)
    ((found, address),) = addresses()
    assert (found, address.shown) == (name, shown)
    assert problem in address.problem if problem else not address.problem
    assert SECRET not in address.problem


def test_no_variable_with_an_address_is_left_out() -> None:
    named = re.compile(r'"([A-Z][A-Z0-9_]*_(?:ENDPOINT|HOST|REGION|ENDPOINT_URL(?:_S3)?))"')
    sources = Path(kaiwo.__file__).parent.rglob("*.py")
    read = {name for path in sources for name in named.findall(path.read_text("utf-8"))}
    assert len(read) >= 10
    assert read <= {*VARIABLES}


def test_it_checks_the_values_of_settings(tmp_path: Path) -> None:
    found = examined(
        tmp_path,
        KAIWO_MAX_WORKERS=SECRET,
        kaiwo_deadline="soon",
        KAIWO_RETRIES="",
        KAIWO_ENGINE="obstore",
        KAIWO_MAX_WORKER="3",
    )
    deadline, misspelled, workers = sorted(found["problems"])
    assert deadline == "KAIWO_DEADLINE: must be seconds, or a duration such as 90s, 15m or 1h30m"
    assert misspelled.startswith("KAIWO_MAX_WORKER: warning: unknown variable")
    assert misspelled.endswith("did you mean KAIWO_MAX_WORKERS?")
    assert workers == "KAIWO_MAX_WORKERS: must be a whole number"
