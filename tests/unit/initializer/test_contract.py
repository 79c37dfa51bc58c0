"""KServe's URIs and variables, as what kaiwo fetches and by whom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kaiwo.api.orders import Order
from kaiwo.errors import ConfigError
from kaiwo.initializer.models import prepared
from kaiwo.initializer.selection import patterns_of
from kaiwo.initializer.uris import Remote, parse
from kaiwo.initializer.variables import Variables
from kaiwo.tasks.base import TaskOpener
from kaiwo.tasks.fetch_request import HubUrl
from tests.support.certificates import authority

ACCOUNT = "https://acct.blob.core.windows.net"
NOTHING: Mapping[str, str] = {}


def remote(uri: str, **variables: str) -> Remote:
    found = parse(uri, Variables(variables))
    assert isinstance(found, Remote)
    return found


def fields(uri: str, **variables: str) -> dict[str, Any]:
    return dict(remote(uri, **variables).fields)


@pytest.mark.parametrize(
    ("uri", "type_", "container", "path"),
    [
        ("s3://bucket/path/model", "s3", "bucket", "path/model"),
        ("s3://bucket", "s3", "bucket", ""),
        ("s3://bucket/a[1]*?.bin", "s3", "bucket", "a[1]*?.bin"),
        ("gs://bucket/path/", "gcs", "bucket", "path/"),
        (f"{ACCOUNT}/c/path/model/", "azure-blob", "c", "path/model"),
        (f"{ACCOUNT}/c", "azure-blob", "c", ""),
        ("https://acct.z44.blob.storage.azure.net/c/m", "azure-blob", "c", "m"),
        ("https://acct.blob.core.chinacloudapi.cn/c/m", "azure-blob", "c", "m"),
        ("http://127.0.0.1:10000/devstoreaccount1/c/a/b", "azure-blob", "c", "a/b"),
        ("https://host/a/m.zip?x=1", "url", "host", "https://host/a/m.zip?x=1"),
        ("https://acct.blob.example.org/c/m", "url", "acct.blob.example.org",
         "https://acct.blob.example.org/c/m"),
        ("file:///opt/model", "url", "", "file:///opt/model"),
    ],
)  # fmt: skip
def test_a_uri_names_what_to_fetch(uri: str, type_: str, container: str, path: str) -> None:
    url = remote(uri).url
    assert (url.type, url.container, url.path, url.glob) == (type_, container, path, None)


@pytest.mark.parametrize(
    ("uri", "repository", "revision"),
    [
        ("hf://owner/model", "owner/model", None),
        ("hf://owner/model:v1.0", "owner/model", "v1.0"),
        ("hf://owner/model:refs/pr/1", "owner/model", "refs/pr/1"),
        ("hf://owner/model:", "owner/model", None),
        ("hf://owner/model@v1.0", "owner/model", "v1.0"),
        ("hf://gpt2:main", "gpt2", "main"),
    ],
)
def test_a_revision_follows_a_colon(uri: str, repository: str, revision: str | None) -> None:
    url = remote(uri).url
    assert isinstance(url, HubUrl)
    assert (url.container, url.path, url.revision) == (repository, "", revision)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("pvc://claim/a/b", "/mnt/pvc/a/b"),
        ("pvc://claim", "/mnt/pvc"),
        ("/mnt/pvc/a//b/", "/mnt/pvc/a/b"),
    ],
)
def test_what_is_on_a_volume_is_a_path(uri: str, path: str) -> None:
    assert parse(uri, Variables(NOTHING)) == path


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("hdfs://host/m", "leave them to KServe"),
        ("oci://registry/m", "leave them to KServe"),
        ("modelscope://o/m", "leave them to KServe"),
        ("https://github.com/o/m.git", "git repositories"),
        ("https://acct.file.core.windows.net/share/m", "file shares"),
        ("https://host/", "names no file"),
        ("https://host:port/m", "cannot be used"),
        ("https://user:canary@acct.blob.core.windows.net/c/m", "no user and password"),
        ("hf://user:canary@host/m", "no host, user or password"),
        ("hf://user:a/canary@host/m", "no host, user or password"),
        ("hf://canary@huggingface.co/o/m", "no host, user or password"),
        ("s3://key:a/canary@bucket/m", "user info"),
        ("user:canary@host/m", "is no URI"),
        ("user:canary@s3://bucket/m", "is no URI"),
        ("pvc://claim/../../etc", "does not climb"),
        ("pvc:///m", "name of a claim"),
        ("ftps2://host/m", "is not known"),
        ("hf://owner/model@a:b", "owner/repo"),
        ("bucket/m", "is no URI"),
        ("", "is no URI"),
        ("s3:///m", "bucket"),
    ],
)
def test_what_kaiwo_does_not_fetch_is_said(uri: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse(uri, Variables(NOTHING))
    assert "canary" not in caught.value.message


def test_the_sdk_reads_its_variables_by_itself() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "http://c"}
    assert fields("s3://bucket/m", **keys) == {}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"awsAnonymousCredential": "True"}, {"anonymous": True}),
        ({"awsAnonymousCredential": "false"}, {}),
        ({"S3_USER_VIRTUAL_BUCKET": "true"}, {"addressing_style": "virtual"}),
        (
            {"AWS_ENDPOINT_URL": "https://s3.amazonaws.com", "AWS_DEFAULT_REGION": "eu-west-1"},
            {"addressing_style": "virtual"},
        ),
        ({"AWS_ENDPOINT_URL": "https://s3.amazonaws.com", "AWS_DEFAULT_REGION": "us-east-1"}, {}),
        ({"STORAGE_CONFIG": '{"type": "s3", "region": "r"}'}, {"region": "r"}),
        ({"STORAGE_CONFIG": '{"type": "hdfs", "region": "r"}'}, {}),
        (
            {
                "AWS_ACCESS_KEY_ID": "of the environment",
                "STORAGE_CONFIG": '{"type": "s3", "secret_access_key": "s"}',
                "STORAGE_OVERRIDE_CONFIG": '{"secret_access_key": "t"}',
            },
            {"access_key_id": "of the environment", "secret_key": "t"},
        ),
        (
            {"STORAGE_CONFIG": '{"type": "s3", "access_key_id": "a", "anonymous": "true"}'},
            {"anonymous": True},
        ),
        (
            {
                "awsAnonymousCredential": "true",
                "STORAGE_CONFIG": '{"type": "s3", "anonymous": false, "region": ""}',
            },
            {},
        ),
    ],
)
def test_variables_become_fields_of_s3(
    variables: dict[str, str], expected: dict[str, object]
) -> None:
    assert fields("s3://bucket/m", **variables) == expected


@pytest.mark.parametrize("value", ["", "1", "no", "True", "0", "False", False, 0, None])
def test_only_zero_and_false_switch_verification_off(value: object) -> None:
    verifies = str(value) not in ("0", "False")
    if isinstance(value, str):
        assert Variables({"S3_VERIFY_SSL": value}).verifies_s3 is verifies
    config = json.dumps({"type": "s3", "verify_ssl": value})
    assert Variables({"STORAGE_CONFIG": config}).verifies_s3 is verifies


@pytest.mark.parametrize(
    ("query", "variables", "expected"),
    [
        ("", {}, {"anonymous": True}),
        ("?sv=1&sig=x", {"AZURE_CLIENT_ID": "c"}, {"sas_token": "sv=1&sig=x"}),
        ("", {"AZURE_STORAGE_ACCESS_KEY": "k\n"}, {"account_key": "k"}),
        ("", {"AZURE_STORAGE_ACCESS_KEY": "k", "AZURE_CLIENT_ID": "c"}, {}),
        (
            "",
            {"AZ_TENANT_ID": "t", "AZ_CLIENT_ID": "c", "AZ_CLIENT_SECRET": "s"},
            {"tenant_id": "t", "client_id": "c", "client_secret": "s"},
        ),
    ],
)
def test_who_signs_in_at_azure(
    query: str, variables: dict[str, str], expected: dict[str, object]
) -> None:
    account = {"account_name": "acct", "endpoint_url": ACCOUNT}
    assert fields(f"{ACCOUNT}/c/m{query}", **variables) == {**expected, **account}


@pytest.mark.parametrize("name", ["STORAGE_CONFIG", "STORAGE_OVERRIDE_CONFIG", "host-headers"])
@pytest.mark.parametrize("text", ["{canary", '["canary"]', '"canary"'])
def test_a_variable_that_is_no_json_is_not_quoted(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        remote("https://host/m", **{name: text})
    assert "canary" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ('["a*", " b "]', ("a*", "b")),
        ("a*, b,", ("a*", "b")),
        ('"a"', ("a",)),
        ("[a]*", ("[a]*",)),
    ],
)
def test_patterns_are_json_or_a_list_with_commas(text: str, expected: tuple[str, ...]) -> None:
    found = patterns_of({"STORAGE_ALLOW_PATTERNS": text, "STORAGE_IGNORE_PATTERNS": text})
    assert (found.allow, found.ignore) == (expected, expected)


def test_mounted_certificates_are_trusted_beside_the_systems(tmp_path: Path) -> None:
    variables = {"CA_BUNDLE_CONFIGMAP_NAME": "c", "CA_BUNDLE_VOLUME_MOUNT_POINT": str(tmp_path)}
    with pytest.raises(ConfigError, match="does not exist"):
        remote("hf://owner/model", **variables)
    bundle = tmp_path / "cabundle.crt"
    bundle.write_bytes(pem := authority().pem)
    assert fields("s3://bucket/m", **variables) == {"ca_bundle": str(bundle)}
    both = Path(fields("hf://owner/model", **variables)["ca_bundle"]).read_bytes()
    assert pem.strip() in both
    assert fields("s3://bucket/m", **variables, AWS_CA_BUNDLE="other") == {}


# --- as an order ------------------------------------------------------------------------------


def order(*uris: str, folder: Path, **variables: str) -> Order:
    found = prepared([(uri, str(folder)) for uri in uris], {}, variables).order
    assert found is not None
    return found


def test_without_credentials_google_is_asked_for_public_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "STORAGE_EMULATOR_HOST")
    for name in (*names, "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def is_anonymous() -> bool:
        opener = order("gs://bucket/m", folder=tmp_path).asked[0].opener
        assert isinstance(opener, TaskOpener)
        return bool(getattr(opener.task, "anonymous"))  # noqa: B009 - of this type of task

    assert is_anonymous()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing"))
    assert not is_anonymous()  # a file that is named and missing is an error later


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    config = json.dumps({"type": "s3", "endpoint_url": "ftp://canary"})
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL: ") as caught:
        order("s3://bucket/m", folder=tmp_path, STORAGE_CONFIG=config)
    assert "canary" not in caught.value.message


def test_one_pair_twice_is_one_pair(tmp_path: Path) -> None:
    assert len(order("s3://b/m", "s3://b/m", "s3://b/n", folder=tmp_path).asked) == 2


def test_models_that_would_have_to_be_decrypted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="decrypts nothing"):
        order("s3://bucket/m", folder=tmp_path, CONFIDENTIAL_ENABLED="True")


@pytest.mark.parametrize("place", ["", "s3://bucket/x"])
def test_a_model_needs_a_folder(place: str) -> None:
    with pytest.raises(ConfigError):
        prepared([("s3://bucket/m", place)], {}, {})
