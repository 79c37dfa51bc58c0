"""What a file, the environment and the options may say, and how a fault in them is told."""

import copy
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
import yaml

from kaiwo.config.document import parse
from kaiwo.config.loader import Config, build, load
from kaiwo.errors import ConfigError
from kaiwo.tasks.base import Task
from kaiwo.tasks.items import FileItem, FolderItem
from kaiwo.tasks.object_store import BucketTask

CANARY = "CANARYxyzzy"
ITEM = {"file": "k", "target_path": "t"}
BUCKETS = [{"name": "b", "items": [ITEM]}]
#: The least that a task of each type needs.
LEAST: dict[str, dict[str, Any]] = {
    "s3": {"type": "s3", "buckets": BUCKETS},
    "gcs": {"type": "gcs", "buckets": BUCKETS},
    "azure-blob": {"type": "azure-blob", "containers": BUCKETS},
    "hf": {"type": "hf", "repo_id": "owner/repo"},
    "url": {"type": "url", "items": [{"file": "https://host/k", "target_path": "t"}]},
}
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


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_WORKERS", "LOG_LEVEL", "DOWNLOAD_ROOT", "PROGRESS", "REPORT", "RETRIES"):
        monkeypatch.delenv(f"KAIWO_{name}", raising=False)


def read(text: str, **options: Any) -> Config:
    """The configuration that a YAML text stands for."""
    return build(parse(dedent(text), "c.yaml"), options)


def of(*tasks: Mapping[str, Any], **settings: Any) -> Config:
    """The configuration with these tasks, by way of YAML."""
    return read(yaml.safe_dump({"download_items": [dict(task) for task in tasks], **settings}))


def task_of(type_: str, **fields: Any) -> Task:
    """A task with the least it needs and these fields."""
    (task,) = of(LEAST[type_] | fields).tasks
    return task


def refusal(text: str, **options: Any) -> str:
    """Why a YAML text is refused: a line for each fault."""
    with pytest.raises(ConfigError) as caught:
        read(text, **options)
    return caught.value.message


def refusal_of(type_: str, **fields: Any) -> str:
    """Why a task with these fields is refused; fields that are None are left out."""
    task = {name: value for name, value in (LEAST[type_] | fields).items() if value is not None}
    return refusal(yaml.safe_dump({"download_items": [task]}, sort_keys=False))


def items_of(task: Task) -> list[FolderItem | FileItem]:
    """All items of a task of an object store."""
    assert isinstance(task, BucketTask)
    return [item for bucket in getattr(task, task.holder) for item in bucket.items]


# --- what is accepted -------------------------------------------------------------------------


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


def test_items_are_the_same_flat_and_nested() -> None:
    forms = """\
        download_items:
          - type: s3
            buckets:
              - name: b
                items:
                  - {folder: data, target_path: a, glob: "*.csv", allow_empty: true}
                  - folder: {folder: data, target_path: a, glob: "*.csv", allow_empty: true}
                  - {file: k, target_path: b}
                  - file: {file: k, target_path: b}
        """
    first, second, third, fourth = items_of(read(forms).tasks[0])
    assert first == second
    assert third == fourth
    assert first.allow_empty


@pytest.mark.parametrize("form", [{"file": {"folder": "f"}}, {"folder": {"file": "f"}}])
def test_an_item_nested_under_the_other_kind_is_refused(form: dict[str, dict[str, str]]) -> None:
    ((key, inner),) = form.items()
    items = [{key: inner | {"target_path": "t"}}]
    assert "items[0]" in refusal_of("s3", buckets=[{"name": "b", "items": items}])


def test_a_folder_without_glob_means_everything_below_it() -> None:
    (item,) = items_of(
        task_of("s3", buckets=[{"name": "b", "items": [{"folder": "f", "target_path": "t"}]}])
    )
    assert isinstance(item, FolderItem)
    assert item.glob == "**/*"


@pytest.mark.parametrize("folder", ["", ".", "/", "./"])
def test_the_whole_bucket_has_several_names(folder: str) -> None:
    item = FolderItem(folder=folder, target_path="t")
    assert item.prefix == ""


def test_a_folder_never_means_every_key_that_begins_with_these_letters() -> None:
    assert {FolderItem(folder=f, target_path="t").prefix for f in ("a/b", "a/b/", "/a/b")} == {
        "a/b/"
    }


FIELDS = [
    ("s3", {"endpoint_url": "https://h"}),
    ("s3", {"endpoint_url_file": "/f"}),
    ("s3", {"access_key_id": "a", "secret_key": "s", "session_token": "t"}),
    ("s3", {"access_key_id_file": "/a", "secret_key_file": "/s", "session_token_file": "/t"}),
    ("s3", {"access_key_id": "a", "secret_key_file": "/s"}),
    ("s3", {"region": "eu-north-1", "requester_pays": True, "addressing_style": "virtual"}),
    ("s3", {"profile": "work"}),
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


def test_no_secret_file_is_opened_by_reading_the_configuration() -> None:
    task = task_of("s3", access_key_id_file="/no/such/a", secret_key_file="/no/such/b")
    assert [name for name, _ in task.check()] == ["access_key_id_file", "secret_key_file"]


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret", "s3cret"),
        (b" two words \n", " two words "),
        (b"\xef\xbb\xbfs3cret\n", "s3cret"),
        (b"line\nline\n", "line\nline"),
    ],
)
def test_a_secret_is_its_files_content_without_the_trailing_newline(
    tmp_path: Path, content: bytes, secret: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    task = task_of("hf", token_file=str(path))
    assert list(task.check()) == []
    assert task.secret("token") == secret


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n", b" \n", b"\xff\xfe\x00"])
def test_a_secret_file_without_a_text_is_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    ((name, fault),) = task_of("hf", token_file=str(path)).check()
    assert name == "token_file"
    assert str(path) in fault


def test_all_secret_files_that_cannot_be_read_are_named_in_one_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    config = of(
        LEAST["s3"] | {"access_key_id_file": "/no/a", "secret_key_file": str(tmp_path)},
        LEAST["hf"] | {"token_file": str(tmp_path / "empty"), "ca_bundle": "/no/ca"},
    )
    with pytest.raises(ConfigError) as caught:
        config.check_secrets()
    lines = caught.value.message.splitlines()
    fields = ("[0].access_key_id_file", "[0].secret_key_file", "[1].token_file", "[1].ca_bundle")
    assert len(lines) == 4
    assert all(any(f"download_items{field}" in line for line in lines) for field in fields)


# --- options, environment, file, default ------------------------------------------------------

SETTINGS = [
    ("max_workers", None, 3, "4", 5),
    ("log_level", "INFO", "ERROR", "warning", "debug"),
    ("progress", "auto", "log", "json", "none"),
    ("report", None, "/file", "/env", "/option"),
    ("verify", "checksum", "size", "checksum", "size"),
    ("retries", 5, 1, "2", 0),
    ("startup_wait", 30.0, 1.0, "2.5", 0.0),
    ("stall_timeout", 30.0, 1.0, "2.5", 3.5),
    ("fail_fast", False, True, "0", True),
    ("force", False, True, "false", True),
    ("state_dir", None, "/file", "/env", "/option"),
    ("download_root", None, "/file", "/env", "/option"),
]


@pytest.mark.parametrize(("name", "default", "file", "environment", "option"), SETTINGS)
def test_an_option_beats_the_environment_beats_the_file_beats_the_default(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    default: object,
    file: object,
    environment: str,
    option: object,
) -> None:
    def value(settings: Mapping[str, object], **options: object) -> object:
        text = yaml.safe_dump({"download_items": [LEAST["hf"]], **settings})
        return getattr(read(text, **options).settings, name)

    def as_kept(given: object) -> object:
        return given.upper() if name == "log_level" and isinstance(given, str) else given

    assert value({}) == default
    assert value({name: file}) == as_kept(file)
    monkeypatch.setenv(f"KAIWO_{name.upper()}", environment)
    from_environment = value({name: file})
    assert from_environment == value({})
    assert from_environment != as_kept(file)
    assert str(from_environment).lower() in {environment, str(environment == "true").lower()}
    assert value({name: file}, **{name: option}) == as_kept(option)
    assert value({name: file}, **{name: None}) == from_environment


def test_a_wrong_value_in_the_environment_names_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAIWO_MAX_WORKERS", CANARY)
    message = refusal("download_items: [{type: hf, repo_id: o/r}]")
    assert "KAIWO_MAX_WORKERS" in message
    assert CANARY not in message
    assert read("download_items: [{type: hf, repo_id: o/r}]", max_workers=2).settings.workers == 2


def test_a_wrong_option_is_named_as_one() -> None:
    message = refusal("download_items: [{type: hf, repo_id: o/r}]", max_workers=0)
    assert message.startswith("option --max-workers: ")


def test_the_default_is_eight_workers() -> None:
    assert of(LEAST["hf"]).settings.workers == 8


def test_a_given_number_of_workers_limits_small_requests_too() -> None:
    assert of(LEAST["hf"]).settings.small_requests == 64
    assert of(LEAST["hf"], max_workers=3).settings.small_requests is None
    assert of(LEAST["hf"], max_workers=8).settings.small_requests is None


def test_a_home_in_the_download_root_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert of(LEAST["hf"], download_root="~/data/").download_root == "/home/somebody/data"


def test_without_a_download_root_it_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert of(LEAST["hf"]).download_root == str(tmp_path)


# --- misspelled keys --------------------------------------------------------------------------

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
    ("place", "wrong", "line", "path", "right"),
    [
        ("top", "download_rot", 18, "download_rot", "download_root"),
        ("top", "max-workers", 18, "max-workers", "max_workers"),
        ("top", "Retries", 18, "Retries", "retries"),
        ("task", "secret_kye", 3, "download_items[0].secret_kye", "secret_key"),
        ("task", "endpoint", 3, "download_items[0].endpoint", "endpoint_url"),
        ("task", "secretkey_file", 3, "download_items[0].secretkey_file", "secret_key_file"),
        ("task", "bucket", 3, "download_items[0].bucket", "buckets"),
        ("bucket", "item", 6, "download_items[0].buckets[0].item", "items"),
        (
            "folder",
            "golb",
            10,
            "download_items[0].buckets[0].items[0].golb",
            "glob",
        ),
        (
            "file",
            "allowempty",
            13,
            "download_items[0].buckets[0].items[1].allowempty",
            "allow_empty",
        ),
        (
            "nested",
            "targetpath",
            17,
            "download_items[0].buckets[0].items[2].targetpath",
            "target_path",
        ),
    ],
)
def test_a_misspelled_key_gets_its_line_its_path_and_the_right_spelling(
    place: str, wrong: str, line: int, path: str, right: str
) -> None:
    blanks = dict.fromkeys(("task", "bucket", "folder", "file", "nested", "top"), "# nothing")
    message = refusal(MISSPELLED.format(**blanks | {place: f"{wrong}: {CANARY}"}))
    assert message.splitlines() == [
        f"c.yaml:{line}: {path}: unknown key '{wrong}'; did you mean '{right}'?"
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
    assert message.startswith("c.yaml:2: download_items[0]: 'type' is missing")
    assert "typ" in message


def test_a_key_that_resembles_nothing_gets_no_suggestion() -> None:
    message = refusal("download_items:\n- type: hf\n  repo_id: o/r\n  zzzzz: x\n")
    assert message == "c.yaml:4: download_items[0].zzzzz: unknown key 'zzzzz'"


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
        f"c.yaml:{line}" for line in (1, 2, 4, 5, 5, 6)
    ]


# --- wrong values -----------------------------------------------------------------------------


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
        f"c.yaml:3: download_items[0].{field}: must be a string: put it in quotes"
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
    assert lines == ["c.yaml:4", "c.yaml:6", "c.yaml:7", "c.yaml:8"]
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
    assert message.startswith("c.yaml:2: download_items[0]")
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
    ("item", "field", "reason"),
    [
        ({"file": "k"}, "target_path", "is required"),
        ({"folder": "k"}, "target_path", "is required"),
        ({"file": "k", "target_path": None}, "target_path", ""),
        ({"file": "k", "target_path": ""}, "target_path", "is empty"),
        ({"file": "k", "target_path": ".."}, "target_path", ".."),
        ({"file": "k", "target_path": "../x"}, "target_path", ".."),
        ({"folder": "k", "target_path": "a/../../x"}, "target_path", ".."),
        ({"folder": "k", "target_path": "/a/../x"}, "target_path", ".."),
        ({"folder": "k", "target_path": "a/.."}, "target_path", ".."),
        ({"file": "k", "target_path": "a\0b"}, "target_path", "control"),
        ({"file": "", "target_path": "t"}, "file", "is empty"),
        ({"file": "f/", "target_path": "t"}, "file", "folder"),
        ({"file": ["k"], "target_path": "t"}, "file", ""),
        ({"folder": "f", "target_path": "t", "glob": ""}, "glob", "is empty"),
        ({"folder": "f", "target_path": "t", "glob": "a**"}, "glob", "**"),
        ({"folder": "f", "target_path": "t", "glob": "x/**b/*"}, "glob", "**"),
        ({"folder": "f", "target_path": "t", "glob": ["*"]}, "glob", ""),
        (
            {"folder": "f", "target_path": "t", "allow_empty": "maybe"},
            "allow_empty",
            "true or false",
        ),
        ({"file": "f", "target_path": "t", "glob": "*"}, "glob", "unknown key"),
    ],
)
def test_a_wrong_item_is_told_by_field_and_reason(
    item: dict[str, Any], field: str, reason: str
) -> None:
    (message,) = refusal_of("s3", buckets=[{"name": "b", "items": [item]}]).splitlines()
    assert message.startswith("c.yaml:")
    assert f"download_items[0].buckets[0].items[0].{field}: " in message
    assert reason in message.partition(f"{field}: ")[2]


@pytest.mark.parametrize(
    "item",
    [
        {"folder": "f", "file": "f", "target_path": "t"},
        {"target_path": "t"},
        {},
        "folder",
        ["folder"],
        None,
    ],
)
def test_an_item_is_either_a_folder_or_a_file(item: object) -> None:
    (message,) = refusal_of("s3", buckets=[{"name": "b", "items": [item]}]).splitlines()
    assert "download_items[0].buckets[0].items[0]: " in message
    assert "'folder' or 'file'" in message


@pytest.mark.parametrize("target", ["a..b", "..a", "a/...", "a/b/", "/abs", "./a"])
def test_dots_that_do_not_climb_are_fine(target: str) -> None:
    items = [{"folder": "f", "target_path": target}]
    (item,) = items_of(task_of("s3", buckets=[{"name": "b", "items": items}]))
    assert item.target_path == target


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
        ("hf", {"repo_id": "a/b/c"}, ""),
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


@pytest.mark.parametrize("field", ["secret_key", "access_key_id"])
def test_an_empty_secret_is_called_empty(field: str) -> None:
    keys = {"secret_key": "s", "access_key_id": "a", field: ""}
    assert f"download_items[0].{field}: is empty" in refusal_of("s3", **keys)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_workers", 0),
        ("max_workers", "many"),
        ("max_workers", 2.5),
        ("max_workers", True),
        ("max_workers", 100_000),
        ("log_level", "LOUD"),
        ("log_level", 3),
        ("progress", "yes please"),
        ("verify", "md5"),
        ("retries", -1),
        ("startup_wait", -1),
        ("startup_wait", ".inf"),
        ("stall_timeout", 0),
        ("fail_fast", "perhaps"),
        ("download_root", ""),
        ("download_root", 5),
        ("report", ["x"]),
        ("state_dir", ""),
    ],
)
def test_a_wrong_setting_is_told_by_its_line_and_key(name: str, value: object) -> None:
    text = yaml.safe_dump({name: value}) + "download_items: [{type: hf, repo_id: o/r}]\n"
    (message,) = refusal(text.replace("'.inf'", ".inf")).splitlines()
    assert message.startswith(f"c.yaml:1: {name}: ")


@pytest.mark.parametrize("text", ["[]", "x", "1", "~", "- type: hf"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert refusal(text).startswith("c.yaml:1: ")


@pytest.mark.parametrize("items", ["", "[]", "{}", "x", "{type: hf}"])
def test_there_has_to_be_a_list_of_tasks(items: str) -> None:
    message = refusal(f"download_root: /x\ndownload_items: {items}\n")
    assert message.startswith("c.yaml:2: download_items: ")


def test_a_file_without_tasks_says_what_is_missing() -> None:
    assert "download_items" in refusal("download_root: /x\n")


@pytest.mark.parametrize("task", ["x", "[]", "~", "1"])
def test_a_task_has_to_be_a_mapping(task: str) -> None:
    assert refusal(f"download_items:\n- {task}\n").startswith("c.yaml:2: download_items[0]: ")


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
    assert message.startswith("c.yaml:3: download_items[0].type: unknown task type")
    assert f"did you mean '{right}'?" in message
    assert all(type_ in message for type_ in LEAST)


@pytest.mark.parametrize("given", ["3", "[s3]", "{s3: x}", "true"])
def test_a_type_that_is_no_text_is_unknown(given: str) -> None:
    assert "c.yaml:2: download_items[0].type: " in refusal(f"download_items:\n- type: {given}\n")


# --- the file itself --------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yaml")


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path)


# --- task types of other packages -------------------------------------------------------------

PLUGIN = """\
from typing import Literal

from kaiwo.tasks.base import Task
from kaiwo.tasks.fields import Secret


class FtpTask(Task):
    type: Literal["other-ftp"] = "other-ftp"
    host: str
    password: Secret | None = None

    @property
    def origin(self): return self.host
    def url(self, container): return "ftp://"
    def source(self, container, network): raise NotImplementedError
    def wants(self, context): return iter(())


class NoTask:
    pass
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution that brings task types."""
    site = tmp_path / "site"
    info = site / "kaiwo_other-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "kaiwo_other_ftp.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kaiwo-other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        dedent(
            """\
            [kaiwo.tasks]
            other-ftp = kaiwo_other_ftp:FtpTask
            s3 = kaiwo_other_ftp:FtpTask
            no-task = kaiwo_other_ftp:NoTask
            no-class = kaiwo_other_ftp:Nothing
            no-module = kaiwo_no_such_module:Task
            """
        )
    )
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("kaiwo_other_ftp", None)


def test_a_type_of_another_package_is_a_type_like_kaiwos_own(plugin: None) -> None:
    task = read("download_items: [{type: other-ftp, host: h, password: p}]").tasks[0]
    assert type(task).__name__ == "FtpTask"
    assert task.secret("password") == "p"
    message = refusal("download_items:\n- type: other-ftp\n  hots: h\n")
    assert "c.yaml:3: download_items[0].hots: unknown key 'hots'; did you mean 'host'?" in message
    assert "c.yaml:2: download_items[0].host: is required" in message


def test_a_type_of_another_package_is_suggested(plugin: None) -> None:
    message = refusal("download_items: [{type: otherftp}]")
    assert "did you mean 'other-ftp'?" in message


def test_no_other_package_can_take_the_name_of_a_type_of_kaiwos(plugin: None) -> None:
    assert type(task_of("s3")).__module__ == "kaiwo.tasks.s3"


@pytest.mark.parametrize("type_", ["no-task", "no-class", "no-module"])
def test_a_broken_type_of_another_package_is_an_error_that_names_it(
    plugin: None, type_: str
) -> None:
    message = refusal(f"download_items: [{{type: {type_}}}]")
    assert message.startswith("c.yaml:1: download_items[0].type: ")
    assert type_ in message


# --- no value in any message ------------------------------------------------------------------


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
    ("s3", {"endpoint_url": f"https://user:{CANARY}@host/"}),
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
