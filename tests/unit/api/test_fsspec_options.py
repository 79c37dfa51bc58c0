"""Options of fsspec's filesystems, as fields of tasks."""

from __future__ import annotations

from typing import Any

import pytest

from kaiwo.api.fsspec_options import _FIELDS, fields_of
from kaiwo.errors import ConfigError
from kaiwo.tasks.registry import task_class


@pytest.mark.parametrize(
    ("protocol", "options", "fields"),
    [
        ("s3", {}, {}),
        ("s3", {"anon": True, "key": None}, {"anonymous": True}),
        (
            "s3a",
            {"key": "k", "secret": "s", "token": "t", "default_block_size": 5 << 20},
            {"access_key_id": "k", "secret_key": "s", "session_token": "t"},
        ),
        (
            "s3",
            {
                "username": "k",
                "password": "s",
                "client_kwargs": {
                    "endpoint_url": "http://h",
                    "region_name": "eu",
                    "verify": "/ca.pem",
                    "aws_session_token": "t",
                },
                "config_kwargs": {"s3": {"addressing_style": "path"}, "read_timeout": 3},
            },
            {
                "access_key_id": "k",
                "secret_key": "s",
                "endpoint_url": "http://h",
                "region": "eu",
                "ca_bundle": "/ca.pem",
                "session_token": "t",
                "addressing_style": "path",
            },
        ),
        ("gs", {"token": "anon"}, {"anonymous": True}),
        ("gcs", {"token": "google_default", "project": "p"}, {"project": "p"}),
        ("gs", {"requester_pays": "p"}, {"requester_pays": True, "project": "p"}),
        ("gs", {"token": {"type": "x"}}, {"application_credentials": '{"type": "x"}'}),
        ("gs", {"token": "ya29.raw"}, {"token": "ya29.raw"}),
        ("gs", {"token": __file__}, {"application_credentials_file": __file__}),
        (
            "abfss",
            {"account_name": "a", "account_host": "h.example", "sas_token": "s", "blocksize": 1},
            {"account_name": "a", "endpoint_url": "https://h.example", "sas_token": "s"},
        ),
        ("hf", {"token": "t", "endpoint": "http://h"}, {"token": "t", "endpoint_url": "http://h"}),
        ("hf", {"token": True, "max_workers": 4}, {}),
        ("https", {"headers": {"a": "b"}, "loop": 1}, {"options": {"headers": {"a": "b"}}}),
        ("file", {}, {}),
    ],
)
def test_each_option_has_its_field(
    protocol: str, options: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert fields_of(protocol, options) == fields


@pytest.mark.parametrize(
    ("protocol", "options", "says"),
    [
        ("s3", {"anom": True}, "'anom'; did you mean 'anon'"),
        ("s3", {"version_aware": True}, "'version_aware'"),
        ("s3", {"config_kwargs": {"signature_version": "canary"}}, "'signature_version'"),
        ("gs", {"token": object()}, "as text, as JSON, or as the path"),
        ("az", {"credential": "canary"}, "'credential'"),
        ("hf", {"revision": "canary"}, "'revision'"),
    ],
)
def test_what_has_no_field_is_refused_without_its_value(
    protocol: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        fields_of(protocol, options)
    assert "canary" not in caught.value.message


def test_what_is_off_is_not_asked_for() -> None:
    off = {"version_aware": False, "s3_additional_kwargs": {}, "session": None}
    assert fields_of("s3", off) == {}


@pytest.mark.parametrize("type_", _FIELDS)
def test_the_fields_are_those_of_the_task_types(type_: str) -> None:
    class_ = task_class(type_)
    assert class_ is not None
    assert set(_FIELDS[type_].values()) <= set(class_.model_fields)
