"""What is known of targets and names without asking any service."""

from __future__ import annotations

from typing import Any

import pytest

from kaiwo.api.download import download
from kaiwo.config.fetch_url import require_target
from kaiwo.config.loader import load
from kaiwo.errors import ConfigError
from tests.support.configs import CANARY, LEAST, of, refusal_of


def conflicts(*tasks: dict[str, Any]) -> str:
    """What is said of the targets of these tasks; empty for nothing."""
    try:
        of(*tasks).check_targets()
    except ConfigError as error:
        return error.message
    return ""


def s3(*items: dict[str, Any], bucket: str = "b") -> dict[str, Any]:
    return {"type": "s3", "buckets": [{"name": bucket, "items": list(items)}]}


def file(key: str, target: str, **fields: Any) -> dict[str, Any]:
    return {"file": key, "target_path": target, **fields}


def hub(*files: str) -> dict[str, Any]:
    return {"type": "hf", "repo_id": "o/r", "files": list(files), "target_path": "d"}


WEB = "https://host/x/k.bin?v=1"


@pytest.mark.parametrize(
    "tasks",
    [
        (s3(file("a", "t"), file("b", "t")),),
        (s3(file("a", "d/"), file("x/a", "d/a")),),
        (s3(file("a", "d/../t".replace("/../", "/./"))), s3(file("b", "d/t"), bucket="c")),
        (s3(file("a", "t")), {"type": "gcs", "buckets": s3(file("a", "t"))["buckets"]}),
        (s3(file("a", "d/k.bin")), {"type": "url", "items": [file(WEB, "d/")]}),
        (s3(file("a", "d/config.json")), hub("config.json")),
        (s3(file("a", "t"), file("b", "t/u/v")),),
    ],
)
def test_two_files_with_one_target_are_refused(tasks: tuple[dict[str, Any], ...]) -> None:
    assert "target_path" in conflicts(*tasks)


@pytest.mark.parametrize(
    "tasks",
    [
        (s3(file("a", "t"), file("b", "u")),),
        # The same bytes for the same target: the second one has nothing to do.
        (s3(file("a", "t"), file("a", "t")),),
        (s3(file("a", "t"), {"folder": "d", "target_path": "t"}),),
        # One of them may be missing.
        (s3(file("a", "t"), file("b", "t", allow_empty=True)),),
        (hub("a", "b"), hub("a")),
    ],
)
def test_what_may_be_right_is_left_to_the_run(tasks: tuple[dict[str, Any], ...]) -> None:
    assert conflicts(*tasks) == ""


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (s3(file("data/0*.csv", "t")), "file"),
        (s3({"folder": "data/*", "target_path": "t"}), "folder"),
        (s3({"folder": "d", "glob": "{01,02}.csv", "target_path": "t"}), "glob"),
        (s3({"folder": "d", "glob": ["*.csv", "{01,02}.csv"], "target_path": "t"}), "glob[1]"),
        (s3({"folder": "d", "exclude": "{01,02}.csv", "target_path": "t"}), "exclude"),
        (s3({"folder": {"folder": "d", "exclude": ["{a,b}"], "target_path": "t"}}), "exclude[0]"),
        ({"type": "hf", "repo_id": "o/r", "files": ["*.json"]}, "files[0]"),
        ({"type": "url", "items": [file("https://h/*.csv?x=1", "t")]}, "file"),
    ],
)
def test_a_glob_in_a_name_is_a_warning(task: dict[str, Any], field: str) -> None:
    (found,) = of(task).warnings()
    assert (found.severity, found.place.field.endswith(field)) == ("warning", True)
    assert found.hint


@pytest.mark.parametrize(
    "task",
    [
        s3(file("data/01.csv", "t"), {"folder": "d", "glob": "**/*.csv", "target_path": "u"}),
        s3({"folder": "d", "glob": ["*", "**"], "exclude": ["[ab]?.*"], "target_path": "t"}),
        {"type": "url", "items": [file("https://h/k?x=[1]*", "t")]},
        {"type": "hf", "repo_id": "o/r", "allow_patterns": ["*.json"]},
    ],
)
def test_a_glob_where_one_belongs_is_no_warning(task: dict[str, Any]) -> None:
    assert of(task).warnings() == []


@pytest.mark.parametrize("url", ["s3://b/d", "gs://b/", "https://h/x", "file:///tmp/x", "S3://b/"])
def test_a_target_that_is_a_url_is_refused(url: str) -> None:
    message = refusal_of("s3", buckets=s3(file("k", url))["buckets"])
    assert ".target_path: this is a URL (" in message
    assert "must be a path" in message
    assert "cache_dir: this is a URL" in refusal_of("hf", cache_dir=url)
    with pytest.raises(ConfigError, match="the target: this is a URL"):
        require_target(url)
    for setting in ("download_root", "report", "metrics_file", "state_dir"):
        with pytest.raises(ConfigError, match=f"{setting}: this is a URL"):
            of(LEAST["hf"], **{setting: url})


@pytest.mark.parametrize("path", ["a:b", "C:/x", "./s3:/b", "-", "a//b", "://x"])
def test_a_path_with_a_colon_is_a_path(path: str) -> None:
    require_target(path)


@pytest.mark.parametrize(
    "text",
    [
        f"download_items:\n  - type: hf\n    token: {CANARY}\n",
        f"download_items: [{{type: hf, token: {CANARY}}}]",
        f"{{download_items: {CANARY}}}",
        f"token: {CANARY}" + "x" * 5000,
        f"\n\0{CANARY}: ",
    ],
)
def test_yaml_as_text_is_refused_without_quoting_it(text: str) -> None:
    for read in (load, download):
        with pytest.raises(ConfigError, match="looks like YAML") as caught:
            read(text)
        assert CANARY not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ["none.yaml", "x" * 300, "a\0b"])
def test_a_path_that_cannot_be_read_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load(name)
