"""The JSON Schema of the file, for editors; the fields' descriptions are in it."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from kaiwo.config.loader import ITEMS
from kaiwo.config.settings import Settings
from kaiwo.tasks.registry import task_class, task_types


def schema() -> dict[str, Any]:
    """The schema, as data for JSON.

    Raises:
        ConfigError: the task type of another package cannot be loaded.
    """
    classes = [class_ for name in task_types() if (class_ := task_class(name)) is not None]
    _, tasks = models_json_schema([(class_, "validation") for class_ in classes])
    items = {
        "type": "array",
        "minItems": 1,
        "items": {"oneOf": [{"$ref": f"#/$defs/{class_.__name__}"} for class_ in classes]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kaiwo",
        "type": "object",
        "properties": {**Settings.model_json_schema()["properties"], ITEMS: items},
        "required": [ITEMS],
        "additionalProperties": False,
        "$defs": tasks["$defs"],
    }
