"""A misspelled key, and the nearest known one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.configs import (
    CANARY,
    refusal,
    refusal_of,
)

MISSPELLED = """\
download_items:
  - type: s3
    {task}
    buckets:
      - name: b
        {bucket}
        items:
          - folder: f
            target_path: t
            {folder}
          - file: f
            target_path: t
            {file}
          - folder:
              folder: f
              target_path: t
              {nested}
{top}
"""


@pytest.mark.parametrize(
    ("place", "wrong", "at", "path", "right"),
    [
        ("top", "download_rot", "18:1", "download_rot", "download_root"),
        ("top", "max-workers", "18:1", "max-workers", "max_workers"),
        ("top", "Retries", "18:1", "Retries", "retries"),
        ("task", "secret_kye", "3:5", "download_items[0].secret_kye", "secret_key"),
        ("task", "endpoint", "3:5", "download_items[0].endpoint", "endpoint_url"),
        ("task", "secretkey_file", "3:5", "download_items[0].secretkey_file", "secret_key_file"),
        ("task", "bucket", "3:5", "download_items[0].bucket", "buckets"),
        ("bucket", "item", "6:9", "download_items[0].buckets[0].item", "items"),
        (
            "folder",
            "golb",
            "10:13",
            "download_items[0].buckets[0].items[0].golb",
            "glob",
        ),
        (
            "file",
            "allowempty",
            "13:13",
            "download_items[0].buckets[0].items[1].allowempty",
            "allow_empty",
        ),
        (
            "nested",
            "targetpath",
            "17:15",
            "download_items[0].buckets[0].items[2].targetpath",
            "target_path",
        ),
    ],
)
def test_a_misspelled_key_gets_its_line_its_path_and_the_right_spelling(
    place: str, wrong: str, at: str, path: str, right: str
) -> None:
    blanks = dict.fromkeys(("task", "bucket", "folder", "file", "nested", "top"), "# nothing")
    message = refusal(MISSPELLED.format(**blanks | {place: f"{wrong}: {CANARY}"}))
    assert message.splitlines() == [
        f"c.yaml:{at}: {path}: unknown key '{wrong}'; did you mean '{right}'?"
    ]


@pytest.mark.parametrize(
    ("type_", "wrong", "right"),
    [
        ("gcs", "application_credential_file", "application_credentials_file"),
        ("gcs", "projct", "project"),
        ("azure-blob", "conection_string", "connection_string"),
        ("azure-blob", "container", "containers"),
        ("hf", "repoid", "repo_id"),
        ("hf", "alow_patterns", "allow_patterns"),
        ("url", "option", "options"),
        ("url", "ca_bundel", "ca_bundle"),
    ],
)
def test_each_types_own_keys_are_suggested(type_: str, wrong: str, right: str) -> None:
    message = refusal_of(type_, **{wrong: CANARY})
    assert f"unknown key '{wrong}'; did you mean '{right}'?" in message
    assert CANARY not in message


@pytest.mark.parametrize(
    ("item", "right"),
    [
        ({"fodler": "f", "target_path": "t"}, "folder"),
        ({"fiel": "f", "target_path": "t"}, "file"),
        ({"folder": {"fodler": "f", "target_path": "t"}}, "folder"),
    ],
)
def test_a_misspelled_folder_or_file_gets_the_right_spelling(
    item: dict[str, Any], right: str
) -> None:
    message = refusal_of("s3", buckets=[{"name": "b", "items": [item]}])
    assert "items[0]" in message
    assert f"did you mean '{right}'" in message


def test_a_misspelled_type_key_gets_a_hint() -> None:
    message = refusal("download_items:\n- name: x\n  typ: s3\n")
    assert message.startswith("c.yaml:2:3: download_items[0]: 'type' is missing")
    assert "typ" in message


def test_a_key_that_resembles_nothing_gets_no_suggestion() -> None:
    message = refusal("download_items:\n- type: hf\n  repo_id: o/r\n  zzzzz: x\n")
    assert message == "c.yaml:4:3: download_items[0].zzzzz: unknown key 'zzzzz'"


def test_all_faults_of_a_file_are_told_at_once() -> None:
    message = refusal(
        """\
        download_rot: x
        max_workers: 0
        download_items:
          - {type: s4}
          - {type: hf, repoid: o/r}
          - {type: s3, buckets: []}
        """
    )
    assert sorted(line.split(": ")[0] for line in message.splitlines()) == [
        f"c.yaml:{at}" for at in ("1:1", "2:1", "4:6", "5:16", "6:16")
    ]
