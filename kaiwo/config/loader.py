"""The file, the environment and the options, as one frozen configuration.

    option over environment (KAIWO_…) over file over default

Errors name file, line and field, suggest the nearest right key, and never show a value: a value
may be a secret, above all when its key is misspelled.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from pydantic import BaseModel, ValidationError

from kaiwo.config.document import Document, parse
from kaiwo.config.settings import Settings
from kaiwo.config.validation import described, suggestion
from kaiwo.errors import ConfigError
from kaiwo.files.placement import expanded
from kaiwo.tasks.base import Task
from kaiwo.tasks.items import Bucket, FileItem, FolderItem
from kaiwo.tasks.registry import task_class, task_types

ITEMS = "download_items"
PREFIX = "KAIWO_"


class Config(Struct, frozen=True):
    """A validated configuration.

    Attributes:
        settings: options of the run.
        tasks: what is to be downloaded.
        document: the file, for the positions in errors.
    """

    settings: Settings
    tasks: tuple[Task, ...]
    document: Document

    @property
    def download_root(self) -> str:
        """Absolute, normalised."""
        return os.path.abspath(expanded(self.settings.download_root or "."))

    def where(self, number: int, location: Sequence[str | int]) -> str:
        """File, line and field of a location in the task of that number."""
        return self.document.where((ITEMS, number, *location))

    def check_secrets(self) -> None:
        """See that every secret file can be read, before anything else happens.

        Raises:
            ConfigError: some cannot; all are named.
        """
        faults = [
            f"{self.where(number, (name,))}: {fault}"
            for number, task in enumerate(self.tasks)
            for name, fault in task.check()
        ]
        if faults:
            raise ConfigError("\n".join(faults))


def load(path: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Config:
    """Read and validate a file; opens no secret file and no connection.

    Args:
        path: of the YAML file.
        options: of the command, by the names of the settings.

    Raises:
        ConfigError: the file, the environment or an option is wrong; all faults are named.
    """
    name = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{name}: cannot read the configuration: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: cannot read the configuration: it is not UTF-8") from None
    return build(parse(text, name), options)


def schema() -> dict[str, Any]:
    """JSON Schema of the file."""
    from pydantic.json_schema import models_json_schema  # noqa: PLC0415 - no run needs it

    classes = [class_ for name in task_types() if (class_ := task_class(name)) is not None]
    _, tasks = models_json_schema([(class_, "validation") for class_ in classes])
    top = Settings.model_json_schema()
    _describe(top, Settings)
    models: list[type[BaseModel]] = [*classes, Bucket, FolderItem, FileItem]
    for model in models:
        _describe(tasks["$defs"].get(model.__name__, {}), model)
    items = {
        "type": "array",
        "minItems": 1,
        "items": {"oneOf": [{"$ref": f"#/$defs/{class_.__name__}"} for class_ in classes]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kaiwo",
        "type": "object",
        "properties": {**top["properties"], ITEMS: items},
        "required": [ITEMS],
        "additionalProperties": False,
        "$defs": tasks["$defs"],
    }


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put the fields' descriptions into the schema of their model."""
    from kaiwo.config.descriptions import descriptions  # noqa: PLC0415 - no run needs it

    properties = schema.get("properties", {})
    for name, text in descriptions(model).items():
        if name in properties:
            properties[name]["description"] = text


def build(document: Document, options: Mapping[str, Any] | None = None) -> Config:
    """Validate a document that has been read already; see ``load``."""
    data = document.data
    if not isinstance(data, dict):
        raise ConfigError(f"{document.where(())}: the file has to hold keys and values")
    values = dict(data)
    items = values.pop(ITEMS, None)
    faults: list[str] = []
    settings = _settings(document, values, options or {}, faults)
    tasks = _tasks(document, items, faults)
    if faults or settings is None:
        raise ConfigError("\n".join(faults))
    return Config(settings, tasks, document)


def _settings(
    document: Document, values: dict[str, Any], options: Mapping[str, Any], faults: list[str]
) -> Settings | None:
    given = {name: value for name, value in options.items() if value is not None}
    known = (ITEMS, *Settings.model_fields)
    for key in [key for key in values if key not in known]:
        # Looked at here: the environment's names may be of any case, and the file's would too.
        del values[key]
        guess = suggestion(key, known)
        hint = f"; did you mean {guess}?" if guess else ""
        faults.append(f"{document.where((key,))}: unknown key {key!r}{hint}")

    environment = _environment()

    def where(location: tuple[str | int, ...]) -> str:
        name = str(location[0]) if location else ""
        if name in given:
            return f"option --{name.replace('_', '-')}"
        if name in environment:
            return f"environment {PREFIX}{name.upper()}"
        return document.where(location)

    try:
        return Settings(**{**values, **environment, **given})
    except ValidationError as error:
        faults += described(error, where, lambda _: known)
    return None


def _environment() -> dict[str, Any]:
    """The options that the environment names; what reads them is a third of a start to load."""
    names = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    if names.isdisjoint(name.upper() for name in os.environ):
        return {}
    from kaiwo.config import environment  # noqa: PLC0415 - a run loads what it uses

    return environment.options(PREFIX)


def _tasks(document: Document, items: object, faults: list[str]) -> tuple[Task, ...]:
    if not isinstance(items, list) or not items:
        faults.append(f"{document.where((ITEMS,))}: a list with at least one task is needed")
        return ()
    tasks = []
    for number, item in enumerate(items):
        found = _task(document, number, item, faults)
        if found is not None:
            tasks.append(found)
    return tuple(tasks)


def _task(document: Document, number: int, item: object, faults: list[str]) -> Task | None:
    location = (ITEMS, number)
    if not isinstance(item, dict):
        faults.append(f"{document.where(location)}: a task has keys and values")
        return None
    type_ = item.get("type")
    if type_ is None:
        hint = suggestion("type", item)
        hint = f" (is {hint[1:-1]} meant to be it?)" if hint else ""
        types = _one_of(sorted(task_types()))
        faults.append(f"{document.where(location)}: 'type' is missing{hint}; {types}")
        return None
    try:
        class_ = task_class(type_) if isinstance(type_, str) else None
    except ConfigError as error:
        faults.append(f"{document.where((*location, 'type'))}: {error.message}")
        return None
    if class_ is None:
        known = sorted(task_types())
        hint = suggestion(str(type_), known)
        guess = f"did you mean {hint}? " if hint else ""
        where = document.where((*location, "type"))
        faults.append(f"{where}: unknown task type; {guess}{_one_of(known)}")
        return None
    try:
        return class_.model_validate(item)
    except ValidationError as error:
        faults += described(
            error,
            lambda inner: document.where((*location, *inner)),
            lambda inner: _fields_at(class_, inner),
        )
        return None


def _one_of(names: Iterable[str]) -> str:
    return f"it is one of {', '.join(names)}"


def _fields_at(model: Any, location: Sequence[str | int]) -> Iterable[str]:
    """The keys of the model that a location leads to, by a walk through the annotations."""
    if "folder item" in location:
        return FolderItem.model_fields
    if "file item" in location:
        return FileItem.model_fields
    if any(isinstance(step, int) for step in location):
        return Bucket.model_fields
    return tuple(model.model_fields)
