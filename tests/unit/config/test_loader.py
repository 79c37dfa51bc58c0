"""A whole file: what it holds, and what a file and its tasks must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaiwo.config.loader import load
from kaiwo.errors import ConfigError
from kaiwo.tasks.items import FileItem, FolderItem
from tests.support.configs import (
    LEAST,
    items_of,
    read,
    refusal,
)

#: What the documentation of the file shows, to the letter.
EXAMPLE = """\
download_root: "/path/to/local/download"
download_items:
  - type: s3
    name: "MyS3Download"
    endpoint_url: "https://s3.amazonaws.com"
    access_key_id: "YOUR_ACCESS_KEY_ID"
    secret_key: "YOUR_SECRET_KEY"
    buckets:
      - name: "my-s3-bucket"
        items:
          - folder: "data"
            target_path: "local/data"
            glob: "**/*.csv"
          - file: "readme.txt"
            target_path: "local/readme.txt"
  - type: gcs
    name: "Google Cloud Storage"
    application_credentials_file: "/path/to/file"
    buckets:
      - name: "my-gcs-bucket"
        items:
          - file: "readme.txt"
            target_path: "local/readme.txt"
  - type: azure-blob
    connection_string: "connection_string"
    containers:
      - name: "my-azure-blob-container"
        items:
          - file: "readme.txt"
            target_path: "local/readme.txt"
  - type: hf
    name: "MyHFDownload"
    repo_id: "username/repo"
    files:
      - "model.bin"
      - "config.json"
"""


def test_the_documents_example_is_read_field_by_field() -> None:
    config = read(EXAMPLE)
    s3, gcs, azure, hub = config.tasks
    assert config.download_root == "/path/to/local/download"
    assert [task.type for task in config.tasks] == ["s3", "gcs", "azure-blob", "hf"]
    assert [task.name for task in config.tasks[:2]] == ["MyS3Download", "Google Cloud Storage"]
    assert [task.label for task in (azure, hub)] == ["azure-blob", "MyHFDownload"]
    assert s3.secret("endpoint_url") == "https://s3.amazonaws.com"
    assert s3.secret("access_key_id") == "YOUR_ACCESS_KEY_ID"
    assert s3.secret("secret_key") == "YOUR_SECRET_KEY"
    assert gcs.model_dump()["application_credentials_file"] == "/path/to/file"
    assert azure.secret("connection_string") == "connection_string"
    assert [bucket["name"] for bucket in s3.model_dump()["buckets"]] == ["my-s3-bucket"]
    assert items_of(s3) == [
        FolderItem(folder="data", target_path="local/data", glob="**/*.csv"),
        FileItem(file="readme.txt", target_path="local/readme.txt"),
    ]
    readme = FileItem(file="readme.txt", target_path="local/readme.txt")
    assert items_of(gcs) == items_of(azure) == [readme]
    assert hub.model_dump()["repo_id"] == "username/repo"
    assert hub.model_dump()["files"] == ("model.bin", "config.json")


@pytest.mark.parametrize("text", ["[]", "x", "1", "~", "- type: hf"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert refusal(text).startswith("c.yaml:1:")


@pytest.mark.parametrize("items", ["", "[]", "{}", "x", "{type: hf}"])
def test_there_has_to_be_a_list_of_tasks(items: str) -> None:
    message = refusal(f"download_root: /x\ndownload_items: {items}\n")
    assert message.startswith("c.yaml:2:1: download_items: ")


def test_a_file_without_tasks_says_what_is_missing() -> None:
    assert "download_items" in refusal("download_root: /x\n")


@pytest.mark.parametrize("task", ["x", "[]", "~", "1"])
def test_a_task_has_to_be_a_mapping(task: str) -> None:
    assert refusal(f"download_items:\n- {task}\n").startswith("c.yaml:2:3: download_items[0]: ")


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("S3", "s3"),
        ("s3s", "s3"),
        ("gsc", "gcs"),
        ("azure", "azure-blob"),
        ("azure_blob", "azure-blob"),
        ("azureblob", "azure-blob"),
        ("HF", "hf"),
    ],
)
def test_an_unknown_type_gets_a_suggestion_and_all_that_are_known(given: str, right: str) -> None:
    (message,) = refusal(f"download_items:\n- name: x\n  type: {given}\n").splitlines()
    assert message.startswith("c.yaml:3:3: download_items[0].type: unknown task type")
    assert f"did you mean '{right}'?" in message
    assert all(type_ in message for type_ in LEAST)


@pytest.mark.parametrize("given", ["3", "[s3]", "{s3: x}", "true"])
def test_a_type_that_is_no_text_is_unknown(given: str) -> None:
    assert "c.yaml:2:3: download_items[0].type: " in refusal(f"download_items:\n- type: {given}\n")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yaml")


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path)
