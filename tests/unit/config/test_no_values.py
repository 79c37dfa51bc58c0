"""No error and no repr shows a value of the configuration."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from textwrap import indent
from typing import Any

import pytest
import yaml

from kaiwo.config.document import parse
from kaiwo.config.loader import build
from kaiwo.errors import ConfigError
from tests.support.configs import (
    CANARY,
    LEAST,
    of,
    refusal,
)


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder of a value in nested data, and its key or index there."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(entries):
        if isinstance(inner, dict | list):
            yield from _leaves(inner)
        yield value, key


FULL = f"""\
download_root: {CANARY}
report: {CANARY}
state_dir: {CANARY}
download_items:
  - type: s3
    name: {CANARY}
    endpoint_url: https://{CANARY}
    access_key_id: {CANARY}
    secret_key: {CANARY}
    session_token: {CANARY}
    region: {CANARY}
    ca_bundle: {CANARY}
    buckets:
      - name: {CANARY}
        items:
          - {{folder: {CANARY}, target_path: {CANARY}, glob: {CANARY}}}
          - {{file: {CANARY}, target_path: {CANARY}}}
  - type: gcs
    application_credentials: {CANARY}
    project: {CANARY}
    endpoint_url: https://{CANARY}
    buckets: [{{name: {CANARY}, items: [{{file: {CANARY}, target_path: {CANARY}}}]}}]
  - type: azure-blob
    account_name: {CANARY}
    account_key: {CANARY}
    endpoint_url: https://{CANARY}
    containers: [{{name: {CANARY}, items: [{{file: {CANARY}, target_path: {CANARY}}}]}}]
  - type: azure-blob
    account_name: {CANARY}
    client_secret: {CANARY}
    client_id: {CANARY}
    tenant_id: {CANARY}
    containers: [{{name: {CANARY}, items: [{{file: {CANARY}, target_path: {CANARY}}}]}}]
  - type: hf
    repo_id: {CANARY}/{CANARY}
    revision: {CANARY}
    token: {CANARY}
    files: [{CANARY}]
    target_path: {CANARY}
    endpoint_url: https://{CANARY}
  - type: url
    options: {{password: {CANARY}}}
    items:
      - file: https://{CANARY}:{CANARY}@{CANARY}/{CANARY}?sig={CANARY}
        target_path: {CANARY}
"""


def _broken() -> Iterator[tuple[str, str]]:
    """The full configuration with one thing wrong, in every place and in several ways.

    As JSON, which is YAML too and is read faster.
    """
    whole = yaml.safe_load(FULL)
    replacements: list[Any] = [12.5, f"../{CANARY}**"]
    for number in range(sum(1 for _ in _leaves(whole))):
        for replacement in replacements:
            data = copy.deepcopy(whole)
            holder, key = list(_leaves(data))[number]
            holder[key] = replacement
            yield f"{number} {key}: {replacement}", json.dumps(data)
        data = copy.deepcopy(whole)
        holder, key = list(_leaves(data))[number]
        if isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
            yield f"{number} {key}x", json.dumps(data)


def _message(text: str) -> str:
    """What a document is refused with; empty when it is not."""
    try:
        build(parse(text, "c.yaml"))
    except ConfigError as error:
        return error.message
    return ""


def test_no_error_shows_a_value_whatever_is_wrong() -> None:
    messages = {what: _message(text) for what, text in _broken()}
    assert [what for what, message in messages.items() if CANARY in message] == []
    assert sum(message != "" for message in messages.values()) > 150


SECRETS = [
    ("s3", {"access_key_id": CANARY, "secret_key": CANARY, "session_token": CANARY}),
    ("hf", {"endpoint_url": f"https://user:{CANARY}@host/"}),
    ("gcs", {"application_credentials": CANARY}),
    ("gcs", {"token": CANARY}),
    ("azure-blob", {"connection_string": CANARY}),
    ("azure-blob", {"account_name": "a", "account_key": CANARY}),
    ("azure-blob", {"account_name": "a", "sas_token": CANARY}),
    (
        "azure-blob",
        {"account_name": "a", "tenant_id": "t", "client_id": "c", "client_secret": CANARY},
    ),
    ("hf", {"token": CANARY}),
    ("url", {"options": {"password": CANARY}}),
    ("url", {"items": [{"file": f"https://u:{CANARY}@h/k?sig={CANARY}", "target_path": "t"}]}),
]


@pytest.mark.parametrize(("type_", "fields"), SECRETS)
def test_no_repr_shows_a_secret(type_: str, fields: dict[str, Any]) -> None:
    config = of(LEAST[type_] | fields)
    for thing in (*config.tasks, config.settings):
        assert CANARY not in repr(thing)
        assert CANARY not in str(thing)


def test_the_repr_of_a_configuration_shows_no_secret() -> None:
    config = of(LEAST["hf"] | {"token": CANARY})
    assert CANARY not in repr(config)
    assert CANARY not in str(config.document)


@pytest.mark.parametrize(
    "line", [f"secret_key {CANARY}", f"secret_key={CANARY}", f"- secret_key: {CANARY}"]
)
def test_a_secret_on_a_line_that_is_no_field_is_not_shown(line: str) -> None:
    text = "download_items:\n  - type: s3\n    buckets: []\n" + indent(line, "    ") + "\n"
    assert CANARY not in refusal(text)
