"""The JSON Schema of the file, for editors; the fields' descriptions are in it.

Each task is checked by the schema of its type (``if`` on ``type``), so that a fault is reported in
that task and not as one of all types. What a pattern cannot express is left to ``kaiwo validate``.
A number, a switch or a word of a list may also be a string that names variables (``${NAME}``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic.json_schema import models_json_schema

from kaiwo.config.expansion import OWN_KEYS
from kaiwo.config.settings import ITEMS, Settings
from kaiwo.errors import ConfigError
from kaiwo.tasks.base import Task
from kaiwo.tasks.fields import BROKEN_VARIABLE, any_case
from kaiwo.tasks.registry import BUILT_IN, task_class, task_types
from kaiwo.tasks.schema_rules import rules_of

logger = logging.getLogger(__name__)
Schema = dict[str, Any]
#: Version 1 of the file.
ID = "urn:kaiwo:file:1"
_ANY_CASE = ("log_level", "log_format")
_VARIABLE = {"$ref": "#/$defs/Variable"}
_DEFINITIONS: Schema = {
    "Text": {"type": "string", "minLength": 1, "not": {"pattern": BROKEN_VARIABLE}},
    "Variable": {
        "type": "string",
        "pattern": r"\$\{",
        "not": {"pattern": BROKEN_VARIABLE},
        "description": "A variable of the environment: `${NAME}`, or `${NAME:-default}`.",
    },
    "NestedFolder": {
        "type": "object",
        "properties": {"folder": {"$ref": "#/$defs/FolderItem"}},
        "additionalProperties": False,
    },
    "NestedFile": {
        "type": "object",
        "properties": {"file": {"$ref": "#/$defs/FileItem"}},
        "additionalProperties": False,
    },
    "Item": {
        "type": "object",
        "description": "A folder or a file.",
        # So that an editor offers both while neither is there.
        "properties": {
            "folder": {"description": "Files of a folder."},
            "file": {"description": "One object."},
        },
        "if": {"required": ["file"]},
        "then": {
            "if": {"properties": {"file": {"type": "object"}}},
            "then": {"$ref": "#/$defs/NestedFile"},
            "else": {"$ref": "#/$defs/FileItem"},
        },
        "else": {
            "if": {"required": ["folder"], "properties": {"folder": {"type": "object"}}},
            "then": {"$ref": "#/$defs/NestedFolder"},
            "else": {"$ref": "#/$defs/FolderItem"},
        },
    },
}
_EXAMPLES: list[Schema] = [
    {
        ITEMS: [
            {
                "type": "s3",
                "buckets": [
                    {
                        "name": "my-bucket",
                        "items": [
                            {"folder": "data", "glob": "**/*.csv", "target_path": "data"},
                            {"file": "model.bin", "target_path": "models/"},
                        ],
                    }
                ],
            }
        ]
    },
    {"download_root": "/models", ITEMS: [{"type": "hf", "repo_id": "openai-community/gpt2"}]},
]


def schema(types: Iterable[str] | None = None) -> Schema:
    """The schema, as data for JSON.

    Args:
        types: of tasks; all that are installed, by default. Types of other packages that cannot be
            used are left out, with a warning.
    """
    classes = _classes(sorted(task_types() if types is None else types))
    modes = [(class_, "validation") for class_ in classes.values()]
    refs, tasks = models_json_schema(modes)  # type: ignore[arg-type] # a list is invariant
    definitions = {name: _plain(each) for name, each in tasks["$defs"].items()}
    branches = []
    for name, class_ in classes.items():
        ref = refs[(class_, "validation")]["$ref"]
        _complete(definitions[ref.rpartition("/")[2]], class_)
        is_type = {"properties": {"type": {"const": name}}, "required": ["type"]}
        branches.append({"if": is_type, "then": {"$ref": ref}})
    task = {
        "type": "object",
        "description": "What to download from one service.",
        "properties": {
            "type": {
                "anyOf": [{"type": "string", "enum": list(classes)}, _VARIABLE],
                "description": _markdown(str(Task.model_fields["type"].description)),
            }
        },
        "required": ["type"],
        "allOf": branches,
    }
    items = {
        "type": "array",
        "minItems": 1,
        "items": {"$ref": "#/$defs/Task"},
        "description": "The tasks: what to download.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "kaiwo",
        "description": "What kaiwo downloads, and how.",
        "type": "object",
        "properties": {**_settings(), ITEMS: items},
        "patternProperties": {
            f"^{OWN_KEYS}": {"description": "The user's own, such as YAML anchors."}
        },
        "required": [ITEMS],
        "additionalProperties": False,
        "examples": _EXAMPLES,
        "$defs": {"Task": task, **_DEFINITIONS, **definitions},
    }


def _classes(names: Iterable[str]) -> dict[str, type[Task]]:
    """The classes of task types, without those of other packages that have no schema."""
    found: dict[str, type[Task]] = {}
    for name in names:
        try:
            class_ = task_class(name)
            if class_ is not None and name not in BUILT_IN:
                rules_of(class_)
                class_.model_json_schema()
        except ConfigError as error:
            logger.warning("%s: it is not in the schema", error.message)
        except Exception as error:  # another package's code
            text = "task type %r has no schema (%s): it is left out; report it to its package"
            logger.warning(text, name, type(error).__name__)
        else:
            found |= {} if class_ is None else {name: class_}
    return found


def _settings() -> Schema:
    """The properties of the settings; words of a list are taken in upper and lower case."""
    properties: Schema = _plain(Settings.model_json_schema())["properties"]
    for name in _ANY_CASE:
        words = properties[name]["anyOf"][0]["enum"]
        spelled = {"type": "string", "pattern": f"^(?:{'|'.join(map(any_case, words))})$"}
        properties[name]["anyOf"].insert(1, spelled)
    return properties


def _complete(definition: Schema, class_: type[Task]) -> None:
    """Add what pydantic's schema of a task lacks."""
    definition["required"] = ["type", *definition.get("required", ())]
    definition["allOf"] = rules_of(class_)


def _plain(node: Any) -> Any:
    """A schema without titles and nulls for defaults; with variables, and plain Markdown."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    found: Schema = {}
    for key, value in node.items():
        if key == "properties":
            found[key] = {name: _plain(each) for name, each in value.items()}
        elif key == "description":
            found[key] = _markdown(value)
        elif not (key == "title" or (key == "default" and value is None)):
            found[key] = value if key in ("default", "examples", "enum") else _plain(value)
    if found.get("items") == {"oneOf": _KINDS}:
        found["items"] = {"$ref": "#/$defs/Item"}
    return _with_variables(found)


#: What pydantic makes of an item; it knows nothing of the nested form.
_KINDS = [{"$ref": "#/$defs/FolderItem"}, {"$ref": "#/$defs/FileItem"}]


def _with_variables(node: Schema) -> Schema:
    """A schema that takes variables: every string that is no secret does."""
    constraints = dict(_constraints(node))
    if constraints == {"type": "string", "minLength": 1}:
        rest = {key: value for key, value in node.items() if key not in constraints}
        return {"$ref": "#/$defs/Text", **rest}
    if constraints.get("type") not in ("integer", "number", "boolean") and "enum" not in node:
        return node
    rest = {key: value for key, value in node.items() if key not in constraints}
    return {"anyOf": [constraints, _VARIABLE], **rest}


def _constraints(node: Schema) -> Iterator[tuple[str, Any]]:
    about = ("description", "default", "examples")
    return ((key, value) for key, value in node.items() if key not in about)


def _markdown(text: str) -> str:
    """A docstring's or a field's text, in Markdown."""
    return text.replace("``", "`")
