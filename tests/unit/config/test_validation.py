"""Wrong values: each is reported by line, field and reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.configs import (
    CANARY,
    ITEM,
    refusal,
    refusal_of,
)


@pytest.mark.parametrize(
    "number", ["0123", "123456", "1.5", "1_000", "12:30:45", "true", "2024-01-02"]
)
@pytest.mark.parametrize("field", ["secret_key", "access_key_id", "region", "name"])
def test_what_yaml_takes_for_a_number_has_to_be_quoted_where_a_text_is_meant(
    field: str, number: str
) -> None:
    other = "access_key_id" if field == "secret_key" else "secret_key"
    message = refusal(
        f"download_items:\n- type: s3\n  {field}: {number}\n"
        + (f"  {other}: x\n" if field in ("secret_key", "access_key_id") else "")
        + "  buckets: [{name: b, items: [{file: k, target_path: t}]}]\n"
    )
    assert message.splitlines() == [
        f"c.yaml:3:3: download_items[0].{field}: must be a string: put it in quotes"
    ]


def test_a_number_is_no_key_bucket_or_target() -> None:
    message = refusal(
        """\
        download_items:
          - type: s3
            buckets:
              - name: 2024
                items:
                  - folder: 1
                    target_path: 2
                    glob: 3
        """
    )
    lines = sorted(line.split(": ")[0] for line in message.splitlines())
    assert lines == ["c.yaml:4:9", "c.yaml:6:13", "c.yaml:7:13", "c.yaml:8:13"]
    assert message.count("put it in quotes") == 4


@pytest.mark.parametrize(
    ("type_", "field", "others"),
    [
        ("s3", "endpoint_url", {}),
        ("s3", "access_key_id", {"secret_key": "s"}),
        ("s3", "secret_key", {"access_key_id": "a"}),
        ("s3", "session_token", {"access_key_id": "a", "secret_key": "s"}),
        ("gcs", "application_credentials", {}),
        ("gcs", "token", {}),
        ("azure-blob", "connection_string", {}),
        ("azure-blob", "account_name", {"account_key": "k"}),
        ("azure-blob", "account_key", {"account_name": "a"}),
        ("azure-blob", "sas_token", {"account_name": "a"}),
        (
            "azure-blob",
            "client_secret",
            {"account_name": "a", "tenant_id": "t", "client_id": "c"},
        ),
        ("hf", "token", {}),
        ("url", "options", {}),
    ],
)
@pytest.mark.parametrize("file_first", [False, True])
def test_both_forms_of_a_field_are_an_error(
    type_: str, field: str, others: dict[str, str], file_first: bool
) -> None:
    value: object = {"x": CANARY} if field == "options" else f"https://{CANARY}"
    if field == "account_name":
        value = CANARY  # the name alone, which becomes a part of a host's
    both = {field: value, f"{field}_file": f"/{CANARY}"}
    if file_first:
        both = dict(reversed(both.items()))
    (message,) = refusal_of(type_, **others, **both).splitlines()
    assert f"download_items[0].{field}_file: give either {field} or {field}_file" in message
    assert CANARY not in message


@pytest.mark.parametrize(
    ("type_", "fields", "words"),
    [
        ("s3", {"access_key_id": "a"}, ("access_key_id", "secret_key")),
        ("s3", {"secret_key_file": "/s"}, ("access_key_id", "secret_key")),
        ("s3", {"session_token": "t"}, ("session_token", "access_key_id")),
        (
            "s3",
            {"profile": "p", "access_key_id": "a", "secret_key": "s"},
            ("profile", "access_key_id"),
        ),
        ("azure-blob", {"account_key": "k"}, ("account_name",)),
        ("azure-blob", {"account_key": "k", "endpoint_url": "https://h"}, ("account_name",)),
        ("azure-blob", {"sas_token": "s"}, ("account_name", "endpoint_url")),
        (
            "azure-blob",
            {"client_secret": "s", "account_name": "a", "client_id": "c"},
            ("tenant_id", "client_id"),
        ),
        (
            "azure-blob",
            {"account_name": "a", "account_key": "k", "sas_token": "s"},
            ("account_key", "sas_token"),
        ),
        (
            "azure-blob",
            {"connection_string": "c", "account_name": "a"},
            ("account_name", "connection_string"),
        ),
        (
            "hf",
            {"files": ["a"], "allow_patterns": ["b"]},
            ("files", "patterns"),
        ),
        ("hf", {"target_path": "t", "cache_dir": "c"}, ("target_path", "cache_dir")),
    ],
)
def test_halves_and_contradictions_are_named(
    type_: str, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    (message,) = refusal_of(type_, **fields).splitlines()
    named = re.match(r"c\.yaml:\d+:(?:3|5): download_items\[0\]\.(\w+): ", message)
    assert named is not None
    assert named[1] in fields
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        ("s3", {"access_key_id": "a", "secret_key": "s"}),
        ("s3", {"access_key_id_file": "/a", "secret_key_file": "/s"}),
        ("s3", {"profile": "p"}),
        ("gcs", {"application_credentials": "{}"}),
        ("gcs", {"application_credentials_file": "/f"}),
        ("gcs", {"token_file": "/f"}),
        ("azure-blob", {"connection_string": "c"}),
        ("azure-blob", {"account_name": "a", "account_key_file": "/k"}),
        ("azure-blob", {"account_name": "a", "sas_token": "s"}),
    ],
)
def test_anonymous_and_credentials_exclude_each_other(type_: str, fields: dict[str, Any]) -> None:
    (message,) = refusal_of(type_, anonymous=True, **fields).splitlines()
    assert "anonymous" in message
    assert "exclude each other" in message


@pytest.mark.parametrize(
    ("type_", "fields", "path"),
    [
        ("s3", {"buckets": []}, "buckets"),
        ("s3", {"buckets": None}, "buckets"),
        ("s3", {"buckets": {"name": "b"}}, "buckets"),
        ("s3", {"buckets": "b"}, "buckets"),
        ("s3", {"buckets": ["b"]}, "buckets[0]"),
        ("s3", {"buckets": [{"name": "b", "items": []}]}, "buckets[0].items"),
        ("s3", {"buckets": [{"name": "b"}]}, "buckets[0].items"),
        ("s3", {"buckets": [{"items": [ITEM]}]}, "buckets[0].name"),
        ("s3", {"buckets": [{"name": "", "items": [ITEM]}]}, "buckets[0].name"),
        ("s3", {"buckets": [{"name": "a/b", "items": [ITEM]}]}, "buckets[0].name"),
        ("s3", {"addressing_style": "sideways"}, "addressing_style"),
        ("s3", {"requester_pays": "maybe"}, "requester_pays"),
        ("s3", {"endpoint_url": "minio:9000"}, "endpoint_url"),
        ("s3", {"endpoint_url": ""}, "endpoint_url"),
        ("s3", {"secret_key": "", "access_key_id": "a"}, "secret_key"),
        ("s3", {"secret_key": ["x"], "access_key_id": "a"}, "secret_key"),
        ("gcs", {"token": ""}, "token"),
        ("gcs", {"endpoint_url": "storage"}, "endpoint_url"),
        ("azure-blob", {"containers": []}, "containers"),
        ("hf", {"files": "model.bin"}, "files"),
        ("hf", {"files": [1]}, "files[0]"),
        ("hf", {"files": [""]}, "files[0]"),
        ("hf", {"repo_type": "models"}, "repo_type"),
        ("hf", {"target_path": "../x"}, "target_path"),
        ("hf", {"repo_id": "a/b/c"}, "repo_id"),
        ("hf", {"repo_id": None}, "repo_id"),
        ("url", {"items": []}, "items"),
        ("url", {"items": [{"file": "no-url", "target_path": "t"}]}, "items[0]"),
        ("url", {"items": [{"file": "s3://b/k", "target_path": "t"}]}, "items[0]"),
        ("url", {"options": "x"}, "options"),
    ],
)
def test_a_wrong_field_of_a_task_is_told_by_its_path(
    type_: str, fields: dict[str, Any], path: str
) -> None:
    (message,) = refusal_of(type_, **fields).splitlines()
    assert message.startswith("c.yaml:")
    assert f": download_items[0]{path and '.'}{path}: " in message


@pytest.mark.parametrize(
    ("type_", "field", "values"),
    [
        ("s3", "buckets", ["a", "b"]),
        ("s3", "buckets", [None, None]),
        ("azure-blob", "containers", ["a", "b"]),
        ("hf", "files", [2024, 2025]),
        ("hf", "allow_patterns", [1, 2]),
    ],
)
def test_two_faults_of_one_list_are_both_told(type_: str, field: str, values: list[Any]) -> None:
    lines = refusal_of(type_, **{field: values}).splitlines()
    assert [f"{field}[{n}]" in line for n, line in enumerate(lines)] == [True, True]


@pytest.mark.parametrize("field", ["secret_key", "access_key_id"])
def test_an_empty_secret_is_called_empty(field: str) -> None:
    keys = {"secret_key": "s", "access_key_id": "a", field: ""}
    assert f"download_items[0].{field}: is empty" in refusal_of("s3", **keys)
