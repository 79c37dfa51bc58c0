"""Items of buckets: their two forms, and what is wrong in them."""

from __future__ import annotations

from typing import Any

import pytest

from kaiwo.objects import Folder
from kaiwo.tasks.items import FolderItem, selected
from tests.support.configs import (
    items_of,
    read,
    refusal_of,
    task_of,
)


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


@pytest.mark.parametrize("exclude", ["*.log", ["*.log", "tmp/**"], []])
@pytest.mark.parametrize("glob", ["*", ["*.csv", "**/*.txt"]])
def test_a_glob_is_one_or_several(glob: str | list[str], exclude: str | list[str]) -> None:
    item = {"folder": "f", "target_path": "t", "glob": glob, "exclude": exclude}
    (found,) = items_of(task_of("s3", buckets=[{"name": "b", "items": [item]}]))
    selection, _ = selected(found, "/root")
    assert isinstance(selection, Folder)
    wanted = [(each,) if isinstance(each, str) else tuple(each) for each in (glob, exclude)]
    assert [selection.globs, selection.exclude] == wanted


@pytest.mark.parametrize("folder", ["", ".", "/", "./"])
def test_the_whole_bucket_has_several_names(folder: str) -> None:
    item = FolderItem(folder=folder, target_path="t")
    assert item.prefix == ""


def test_a_folder_never_means_every_key_that_begins_with_these_letters() -> None:
    assert {FolderItem(folder=f, target_path="t").prefix for f in ("a/b", "a/b/", "/a/b")} == {
        "a/b/"
    }


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
        ({"folder": "f", "target_path": "t", "glob": []}, "glob", "at least one entry"),
        ({"folder": "f", "target_path": "t", "glob": 3}, "glob", "must be a string"),
        ({"folder": "f", "target_path": "t", "glob": ["*", ""]}, "glob[1]", "is empty"),
        ({"folder": "f", "target_path": "t", "glob": ["*", "a**"]}, "glob[1]", "**"),
        ({"folder": "f", "target_path": "t", "glob": "a/"}, "glob", "write '/**' for a folder"),
        ({"folder": "f", "target_path": "t", "exclude": ""}, "exclude", "is empty"),
        ({"folder": "f", "target_path": "t", "exclude": None}, "exclude", "must be a string"),
        ({"folder": "f", "target_path": "t", "exclude": ["tmp/"]}, "exclude[0]", "'/**'"),
        ({"folder": "f", "target_path": "t", "exclude": ["*", 3]}, "exclude[1]", "a string"),
        ({"file": "f", "target_path": "t", "exclude": "*"}, "exclude", "unknown key"),
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
