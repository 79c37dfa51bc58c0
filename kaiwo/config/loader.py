"""The file, the environment and the options, as one frozen configuration.

Errors name file, line and field, suggest the nearest known key, and never show a value: a value
may be a secret, above all when its key is misspelled. All faults are reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from pydantic import ValidationError

from kaiwo.config.document import Document, parse
from kaiwo.config.settings import PREFIX, Settings, in_environment, layered
from kaiwo.config.validation import described, suggestion
from kaiwo.errors import ConfigError
from kaiwo.files.placement import absolute
from kaiwo.loading import loading
from kaiwo.tasks.base import Task
from kaiwo.tasks.items import Bucket, FileItem, FolderItem
from kaiwo.tasks.registry import task_class, task_types

ITEMS = "download_items"


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
        return absolute(self.settings.download_root or ".")

    def where(self, number: int, location: Sequence[str | int]) -> str:
        """File, line and field of a location in the task of that number."""
        return self.document.where((ITEMS, number, *location))

    def check_secrets(self) -> None:
        """Check that every secret file can be read, before anything else happens.

        Raises:
            ConfigError: some cannot be read; the error names all of them.
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
        ConfigError: the file, the environment or an option is wrong; it names every fault.
    """
    name = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{name}: cannot read the configuration: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: cannot read the configuration: it is not UTF-8") from None
    return build(parse(text, name), options)


def build(document: Document, options: Mapping[str, Any] | None = None) -> Config:
    """Validate a document that has been read already; see ``load``."""
    data = document.data
    if not isinstance(data, dict):
        raise ConfigError(f"{document.where(())}: the file must be a mapping: keys and values")
    values = dict(data)
    items = values.pop(ITEMS, None)
    faults: list[str] = []
    with loading():  # pydantic completes a model at its first use, and a fork must not divide that
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
        # Checked here, and not by the layers, which know nothing of lines.
        del values[key]
        guess = suggestion(key, known)
        hint = f"; did you mean {guess}?" if guess else ""
        faults.append(f"{document.where((key,))}: unknown key {key!r}{hint}")

    environment = in_environment()

    def where(location: tuple[str | int, ...]) -> str:
        name = str(location[0]) if location else ""
        if name in given:
            return f"option --{name.replace('_', '-')}"
        if name in environment:
            return f"environment {PREFIX}{name.upper()}"
        return document.where(location)

    try:
        return layered(values, given)
    except ValidationError as error:
        faults += described(error, where, lambda _: known)
    return None


def _tasks(document: Document, items: object, faults: list[str]) -> tuple[Task, ...]:
    if not isinstance(items, list) or not items:
        faults.append(f"{document.where((ITEMS,))}: must be a list with at least one task")
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
        faults.append(f"{document.where(location)}: a task must be a mapping: keys and values")
        return None
    type_ = item.get("type")
    if type_ is None:
        hint = suggestion("type", item)
        hint = f" (did you mean 'type' where you wrote {hint}?)" if hint else ""
        types = _known_types(sorted(task_types()))
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
        faults.append(f"{where}: unknown task type; {guess}{_known_types(known)}")
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


def _known_types(names: Iterable[str]) -> str:
    return f"known types are {', '.join(names)}"


def _fields_at(model: Any, location: Sequence[str | int]) -> Iterable[str]:
    """The keys of the model at a location in a task: an item, a bucket, or the task itself."""
    if "folder item" in location:
        return FolderItem.model_fields
    if "file item" in location:
        return FileItem.model_fields
    if any(isinstance(step, int) for step in location):
        return Bucket.model_fields
    return tuple(model.model_fields)
