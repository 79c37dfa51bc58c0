"""The URLs that ``kaiwo.fetch`` takes."""

from __future__ import annotations

import pytest

from kaiwo.config.fetch_url import parse, split_glob
from kaiwo.errors import ConfigError
from kaiwo.tasks.fetch_request import HubUrl, ObjectUrl


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket/key", ObjectUrl("s3", "bucket", "key")),
        ("s3://bucket/deep/key.bin", ObjectUrl("s3", "bucket", "deep/key.bin")),
        ("S3://bucket/key", ObjectUrl("s3", "bucket", "key")),
        ("s3://bucket", ObjectUrl("s3", "bucket", "")),
        ("s3://bucket/", ObjectUrl("s3", "bucket", "")),
        ("s3://bucket/folder/", ObjectUrl("s3", "bucket", "folder/")),
        ("s3://bucket//odd//key", ObjectUrl("s3", "bucket", "/odd//key")),
        ("s3://bucket/a%20b#c&d=e", ObjectUrl("s3", "bucket", "a%20b#c&d=e")),
        ("s3://bucket/x@y:z", ObjectUrl("s3", "bucket", "x@y:z")),
        ("s3://bucket/ñ 日本", ObjectUrl("s3", "bucket", "ñ 日本")),
        ("gs://bucket/key", ObjectUrl("gcs", "bucket", "key")),
        ("gcs://bucket/key", ObjectUrl("gcs", "bucket", "key")),
        ("az://container/key", ObjectUrl("azure-blob", "container", "key")),
        ("abfs://container/key", ObjectUrl("azure-blob", "container", "key")),
        ("s3://bucket/**/*.csv", ObjectUrl("s3", "bucket", "", "**/*.csv")),
        ("s3://bucket/folder/**/*.csv", ObjectUrl("s3", "bucket", "folder/", "**/*.csv")),
        ("s3://bucket/a/b*/c/d", ObjectUrl("s3", "bucket", "a/", "b*/c/d")),
        ("s3://bucket/a/[bc].txt", ObjectUrl("s3", "bucket", "a/", "[bc].txt")),
        ("s3://bucket/*", ObjectUrl("s3", "bucket", "", "*")),
        ("hf://owner/repo", HubUrl("hf", "owner/repo", "")),
        ("hf://owner/repo/", HubUrl("hf", "owner/repo", "")),
        ("hf://owner/repo/deep/a.json", HubUrl("hf", "owner/repo", "deep/a.json")),
        ("hf://owner/repo/deep/", HubUrl("hf", "owner/repo", "deep/")),
        ("hf://owner/repo/*.json", HubUrl("hf", "owner/repo", "", "*.json")),
        ("hf://models/owner/repo/a", HubUrl("hf", "owner/repo", "a")),
        ("hf://datasets/owner/repo/a", HubUrl("hf", "owner/repo", "a", None, "dataset")),
        ("hf://spaces/owner/repo/a", HubUrl("hf", "owner/repo", "a", None, "space")),
        ("hf://owner/repo@v1", HubUrl("hf", "owner/repo", "", None, "model", "v1")),
        ("hf://owner/repo@v1/a", HubUrl("hf", "owner/repo", "a", None, "model", "v1")),
        ("hf://gpt2@v1/a", HubUrl("hf", "gpt2", "a", None, "model", "v1")),
        ("hf://gpt2", HubUrl("hf", "gpt2", "")),
        (
            "hf://owner/repo@refs/pr/12/a/b",
            HubUrl("hf", "owner/repo", "a/b", None, "model", "refs/pr/12"),
        ),
        (
            "hf://datasets/owner/repo@refs/convert/parquet/a",
            HubUrl("hf", "owner/repo", "a", None, "dataset", "refs/convert/parquet"),
        ),
        (
            "hf://owner/repo@feature%2Fx/a",
            HubUrl("hf", "owner/repo", "a", None, "model", "feature/x"),
        ),
        ("hf://owner/repo/user@host", HubUrl("hf", "owner/repo", "user@host")),
    ],
)
def test_a_url_is_cut_into_the_fields_of_a_task(url: str, expected: ObjectUrl) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "is_folder", "own_name"),
    [
        ("s3://bucket", True, "bucket"),
        ("s3://bucket/", True, "bucket"),
        ("s3://bucket/a/b.bin", False, "b.bin"),
        ("s3://bucket/a/b/", True, "b"),
        ("s3://bucket/a/b/*", True, "b"),
        ("s3://bucket/*", True, "bucket"),
        ("hf://owner/repo", True, "repo"),
        ("hf://owner/repo/a.json", False, "a.json"),
    ],
)
def test_a_glob_or_a_slash_at_the_end_makes_a_folder(
    url: str, is_folder: bool, own_name: str
) -> None:
    found = parse(url)
    assert (found.is_folder, found.own_name) == (is_folder, own_name)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket/key",
        "/a/path",
        "s3:/bucket/key",
        "s3://",
        "s3:///key",
        "gs://",
        "az:///a",
        "hf://",
        "hf:///a",
        "hf://@v1/a",
        "hf://owner/repo@",
        "hf://datasets/",
        "nonsense://a/b",
        "://a/b",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert caught.value.exit_code == 2


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"s3://.*gs://.*az://.*hf://"):
        parse("s4://bucket/key")


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hunter2@bucket/a",
        "s3://key:a/hunter2@bucket/a",
        "az://key:hunter2@c/a",
        "hf://user:hunter2@",
        "hf://user:hunter2@host/o/r",
        "hf://user:a/hunter2@host/o/r",
        "hf://hunter2@huggingface.co/o/r",
        "hf://hunter2@mirror.example/o/r",
        "hf://hunter2@mirror.example:8080/o/r",
        "user:hunter2@bucket/a",
        "user:hunter2@s3://bucket/a",
        "s3:/key:hunter2@bucket/a",
    ],
)
def test_user_info_is_refused_without_being_shown(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example:8080")
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert "hunter2" not in caught.value.message


def test_what_is_no_user_info_is_not_taken_for_it() -> None:
    point = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"
    assert parse(f"s3://{point}/a@b") == ObjectUrl("s3", point, "a@b")
    assert parse("s3://tenant:bucket/a") == ObjectUrl("s3", "tenant:bucket", "a")


def test_a_file_of_a_web_server_is_a_url_of_another_filesystem() -> None:
    found = parse("https://host.example:8080/deep/a.bin")
    assert (found.type, found.is_folder, found.own_name) == ("url", False, "a.bin")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ("", None)),
        ("a/b", ("a/b", None)),
        ("a/b/", ("a/b/", None)),
        ("a/*", ("a/", "*")),
        ("*/a", ("", "*/a")),
        ("a/b?c/d", ("a/", "b?c/d")),
        ("a//*/", ("a//", "*/")),
    ],
)
def test_a_glob_is_cut_off_at_its_first_segment(path: str, expected: tuple[str, str]) -> None:
    assert split_glob(path) == expected
