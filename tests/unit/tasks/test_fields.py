"""Every documented field of every task type."""

from __future__ import annotations

from typing import Any

import pytest

from kaiwo.errors import ConfigError
from kaiwo.tasks.fields import require_endpoint
from tests.support.configs import (
    LEAST,
    refusal_of,
    task_of,
)

ROLE = "arn:aws:iam::123456789012:role/reader"

FIELDS = [
    ("s3", {"endpoint_url": "https://h"}),
    ("s3", {"endpoint_url_file": "/f"}),
    ("s3", {"access_key_id": "a", "secret_key": "s", "session_token": "t"}),
    ("s3", {"access_key_id_file": "/a", "secret_key_file": "/s", "session_token_file": "/t"}),
    ("s3", {"access_key_id": "a", "secret_key_file": "/s"}),
    ("s3", {"region": "eu-north-1", "requester_pays": True, "addressing_style": "virtual"}),
    ("s3", {"profile": "work"}),
    ("s3", {"role_arn": ROLE, "external_id": "id", "role_session_name": "n"}),
    ("s3", {"profile": "work", "role_arn": "arn:minio:iam:::role/reader"}),
    ("s3", {"customer_key": "k" * 32}),
    ("s3", {"customer_key_file": "/k"}),
    ("s3", {"anonymous": True, "region": "us-east-1"}),
    ("gcs", {"application_credentials": "{}"}),
    ("gcs", {"application_credentials_file": "/f", "project": "p", "endpoint_url": "http://h"}),
    ("gcs", {"token": "t"}),
    ("gcs", {"token_file": "/t"}),
    ("gcs", {"anonymous": True}),
    ("azure-blob", {"connection_string_file": "/f"}),
    ("azure-blob", {"account_name": "a", "account_key": "k"}),
    ("azure-blob", {"account_name_file": "/a", "account_key_file": "/k"}),
    ("azure-blob", {"account_name": "a", "sas_token": "s"}),
    ("azure-blob", {"endpoint_url": "https://h", "sas_token_file": "/s"}),
    (
        "azure-blob",
        {"account_name": "a", "tenant_id": "t", "client_id": "c", "client_secret": "s"},
    ),
    (
        "azure-blob",
        {"account_name": "a", "tenant_id": "t", "client_id": "c", "client_secret_file": "/s"},
    ),
    ("azure-blob", {"anonymous": True, "account_name": "a"}),
    ("azure-blob", {"account_name": "a"}),
    ("hf", {"token": "t", "repo_type": "dataset", "revision": "refs/pr/1"}),
    ("hf", {"token_file": "/t", "files": ["a", "b/c"]}),
    ("hf", {"allow_patterns": ["*.json"], "ignore_patterns": ["*.bin"]}),
    ("hf", {"target_path": "/models", "allow_empty": True}),
    ("hf", {"cache_dir": "/cache", "endpoint_url": "https://h"}),
    ("url", {"options": {"username": "u", "port": 22}}),
    ("url", {"options_file": "/f"}),
    *((type_, {"name": "n", "ca_bundle": "/ca.pem"}) for type_ in LEAST),
]


@pytest.mark.parametrize(("type_", "fields"), FIELDS)
def test_every_documented_field_is_accepted_and_kept(type_: str, fields: dict[str, Any]) -> None:
    task = task_of(type_, **fields)
    for name, value in fields.items():
        kept = getattr(task, name)
        kept = kept.get_secret_value() if hasattr(kept, "get_secret_value") else kept
        assert kept == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    "address",
    [
        "http://min io:9000",
        "http://mïnio:9000",
        "http://h/a b",
        "http://min<io>:9000",
        "http://min{io}/",
        "http://min\\io/",
        "http://h\x00/",
    ],
)
def test_an_address_that_no_engine_can_read_is_refused(address: str) -> None:
    """The fast engine's library aborts on some of these."""
    with pytest.raises(ConfigError, match="ASCII characters only"):
        require_endpoint(address)


def test_addresses_as_people_have_them_are_taken() -> None:
    for address in ("http://[::1]:9000/a%20b", "https://xn--mnio-5pa.example/~x/(1)!$&'*+,;=@"):
        assert require_endpoint(address) == address


def test_user_info_in_an_endpoint_is_refused_with_a_hint_but_for_mirrors() -> None:
    for address in ("http://u:p@h", "https://key@h:9000/", "http://@h/", "https://u:p@h/@"):
        with pytest.raises(ConfigError, match="go into their fields") as caught:
            require_endpoint(address)
        assert "u:p" not in caught.value.message
        assert require_endpoint(address, user_info=True) == address


def test_a_role_is_an_arn() -> None:
    for arn in ("reader", "arn:aws:iam", "arn:aws:iam::123456789012:role/a b"):
        assert "must be an ARN" in refusal_of("s3", role_arn=arn)
    for name in ("external_id", "role_session_name"):
        assert f"{name} needs role_arn" in refusal_of("s3", **{name: "id"})
    assert "exclude each other" in refusal_of("s3", role_arn=ROLE, anonymous=True)
