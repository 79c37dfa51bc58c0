"""The JSON Schema of the file, and what each field is for.

Every good file that the tests read by ``tests/support/configs.py`` is checked there by the schema,
too.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel

from kaiwo.config.schema import schema
from kaiwo.config.settings import Settings
from kaiwo.tasks.base import Task
from kaiwo.tasks.items import Bucket, FileItem, FolderItem
from kaiwo.tasks.registry import BUILT_IN, task_class


def models() -> list[type[BaseModel]]:
    classes = [task_class(type_) for type_ in BUILT_IN]
    tasks = [class_ for class_ in classes if class_ is not None]
    return [Settings, Bucket, FolderItem, FileItem, *tasks]


def descriptions(model: type[BaseModel]) -> dict[str, str | None]:
    return {name: field.description for name, field in model.model_fields.items()}


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_field_has_a_description(model: type[BaseModel]) -> None:
    for text in descriptions(model).values():
        assert text
        assert text == inspect.cleandoc(text)
        assert "\n" not in text
        assert "  " not in text


def test_descriptions_of_base_classes_are_there_too() -> None:
    own = descriptions(Task)
    for type_ in BUILT_IN:
        class_ = task_class(type_)
        assert class_ is not None
        below = descriptions(class_)
        shared = own.keys() & below.keys()
        assert {name: below[name] for name in shared} == {name: own[name] for name in shared}
        assert shared


def test_the_schema_holds_every_description() -> None:
    made = schema()
    assert all(properties.get("description") for properties in _properties(made["properties"]))
    for model in ("S3Task", "FolderItem"):
        held = made["$defs"][model]["properties"]
        own = descriptions(next(each for each in models() if each.__name__ == model))
        # In Markdown, which editors show.
        wanted = {name: str(text).replace("``", "`") for name, text in own.items()}
        assert {name: held[name]["description"] for name in wanted} == wanted


def _properties(properties: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for name, each in properties.items() if name != "download_items"]


def test_pydantic_reads_no_source_when_classes_are_made() -> None:
    for model in models():
        assert not model.model_config.get("use_attribute_docstrings")
