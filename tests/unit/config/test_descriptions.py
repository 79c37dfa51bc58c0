"""What the fields of a model are for, as their source says it."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest
from pydantic import BaseModel

from kaiwo.config.descriptions import descriptions
from kaiwo.config.loader import schema
from kaiwo.config.settings import Settings
from kaiwo.tasks.base import Task
from kaiwo.tasks.items import Bucket, FileItem, FolderItem
from kaiwo.tasks.registry import BUILT_IN, task_class


def models() -> list[type[BaseModel]]:
    classes = [task_class(type_) for type_ in BUILT_IN]
    tasks = [class_ for class_ in classes if class_ is not None]
    return [Settings, Bucket, FolderItem, FileItem, *tasks]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_field_has_a_description(model: type[BaseModel]) -> None:
    found = descriptions(model)
    assert set(found) == set(model.model_fields)
    assert all(text and text == inspect.cleandoc(text) for text in found.values())


def test_a_description_is_the_string_below_the_field() -> None:
    found = descriptions(Settings)
    assert found["fail_fast"] == "End the run at the first object that fails."
    assert found["report"] == "Where the JSON report goes; ``-`` is stdout."


def test_descriptions_of_base_classes_are_there_too() -> None:
    for type_ in BUILT_IN:
        class_ = task_class(type_)
        assert class_ is not None
        below = {name: text for name, text in descriptions(class_).items() if name != "type"}
        own = descriptions(Task)
        shared = own.keys() & below.keys()
        assert {name: below[name] for name in shared} == {name: own[name] for name in shared}
        assert shared


def test_a_class_of_another_package_needs_no_source() -> None:
    # Its source may be gone, and pydantic's own fields are not for users.
    names: dict[str, Any] = {"__annotations__": {"more": int}, "__module__": "elsewhere"}
    other = type("Other", (FileItem,), names)
    found = descriptions(other)
    assert found == descriptions(FileItem)


def test_the_schema_holds_every_description() -> None:
    made = schema()
    assert all(properties.get("description") for properties in _properties(made["properties"]))
    for model in ("S3Task", "FolderItem"):
        held = made["$defs"][model]["properties"]
        wanted = descriptions(next(each for each in models() if each.__name__ == model))
        assert {name: held[name]["description"] for name in wanted} == wanted


def _properties(properties: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for name, each in properties.items() if name != "download_items"]


def test_pydantic_reads_no_source_when_classes_are_made() -> None:
    for model in models():
        assert not model.model_config.get("use_attribute_docstrings")
        assert all(field.description is None for field in model.model_fields.values())


def test_it_reads_sources_and_imports_nothing_of_kaiwo() -> None:
    tree = ast.parse(inspect.getsource(descriptions))
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not any((name or "").startswith("kaiwo") for name in names)
