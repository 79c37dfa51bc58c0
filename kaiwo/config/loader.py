"""The file, the environment and the options, as one frozen configuration.

Errors name file, line, column and field, suggest what was meant, and never show a value: a value
may be a secret, above all when its key is misspelled. All faults are reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct
from pydantic import ValidationError

from kaiwo.config import targets
from kaiwo.config.diagnostics import Diagnostic, InvalidConfigError, Place, invalid
from kaiwo.config.document import Document, parse
from kaiwo.config.expansion import OWN_KEYS, Note, expand
from kaiwo.config.settings import PREFIX, Settings, in_environment, layered
from kaiwo.config.suggestions import TYPES, Level, nearest, unknown_key
from kaiwo.config.validation import MISSING, Finding, Location, check, findings, levels_of
from kaiwo.errors import ConfigError
from kaiwo.files.placement import absolute
from kaiwo.loading import loading
from kaiwo.tasks.base import Task
from kaiwo.tasks.registry import task_class, task_types

ITEMS = "download_items"


class Config(Struct, frozen=True):
    """A validated configuration.

    Attributes:
        settings: options of the run.
        tasks: what is to be downloaded.
        document: the file, for the positions in errors.
        numbers: of the tasks in the file: without its variables, a task may be left out.
        of_variables: warnings: what in its texts is probably not meant as it is written.
    """

    settings: Settings
    tasks: tuple[Task, ...]
    document: Document
    numbers: tuple[int, ...]
    of_variables: tuple[Diagnostic, ...] = ()

    @property
    def download_root(self) -> str:
        """Absolute, normalised."""
        return absolute(self.settings.download_root or ".")

    def where(self, number: int, location: Sequence[str | int]) -> str:
        """File, line and field of a location in the task of that number."""
        return self.document.where((ITEMS, self.numbers[number], *location))

    def check_targets(self) -> None:
        """Check that no two files that are named have the same target; nothing is asked.

        Raises:
            ConfigError: some have; the error names all of them.
        """
        if faults := list(targets.conflicts(self._place, self.tasks, self.download_root)):
            raise invalid(faults)

    def warnings(self) -> list[Diagnostic]:
        """What is allowed and probably not meant."""
        return [*self.of_variables, *targets.globs_not_meant(self._place, self.tasks)]

    def _place(self, number: int, location: Sequence[str | int]) -> Place:
        return self.document.place((ITEMS, self.numbers[number], *location))

    def check_secrets(self) -> None:
        """Check that every secret file can be read, before anything else happens.

        Raises:
            ConfigError: some cannot be read; the error names all of them.
        """
        faults = [
            Diagnostic(self._place(number, (name,)), fault)
            for number, task in enumerate(self.tasks)
            for name, fault in task.check()
        ]
        if faults:
            raise invalid(faults)


def load(
    path: str | os.PathLike[str],
    options: Mapping[str, Any] | None = None,
    *,
    elsewhere: bool = False,
) -> Config:
    """Read and validate a file; opens no secret file and no connection.

    Args:
        path: of the YAML file.
        options: of the command, by the names of the settings.
        elsewhere: it will be used in another environment, so that variables may be unknown here.

    Raises:
        ConfigError: the file, the environment or an option is wrong; it names every fault.
    """
    name = os.fspath(path)
    return build(parse(_read(name), name), options, os.environ, elsewhere=elsewhere)


def _read(name: str) -> str:
    """The text of a file.

    Raises:
        ConfigError: it cannot be read. What is no path but YAML is not quoted.
    """
    try:
        content = Path(name).read_bytes()
    except (OSError, ValueError) as error:
        if any(each in name for each in ("\n", ": ", "{")):
            raise ConfigError(
                "this is no path of a file but looks like YAML: give a path, or a mapping with "
                "what the file would hold"
            ) from None
        fault = (error.strerror if isinstance(error, OSError) else None) or "it is no path"
        raise _unreadable(name, fault) from None
    return decoded(content, name)


def decoded(content: bytes, name: str) -> str:
    """The text of a file with this content.

    Raises:
        InvalidConfigError: it is no text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(name, "it is not UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unreadable(name: str, fault: str) -> InvalidConfigError:
    return invalid([Diagnostic(Place(name), f"cannot read the configuration: {fault}")])


def build(
    document: Document,
    options: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    elsewhere: bool = False,
) -> Config:
    """Validate a document that has been read already; see ``load``.

    Args:
        document: what was read.
        options: of the command.
        environment: the variables that its texts may name; None: they name none.
        elsewhere: see ``load``.
    """
    faults = list(document.faults)
    data = document.data
    if not isinstance(data, dict):
        problem = "the file must be a mapping: keys and values"
        raise invalid([*faults, Diagnostic(document.place(()), problem)])
    with loading():  # pydantic completes a model at its first use, and a fork must not divide that
        builder = _Builder(document, faults, environment, elsewhere=elsewhere)
        settings, tasks = builder.build(dict(data), options or {})
    if faults:
        raise invalid(faults)
    # Settings are None where variables that they need are unknown here.
    warnings = tuple(builder.warnings)
    return Config(settings or Settings(), tuple(tasks.values()), document, tuple(tasks), warnings)


class _Builder:
    """Makes settings and tasks of a document, and notes what is wrong."""

    def __init__(
        self,
        document: Document,
        faults: list[Diagnostic],
        environment: Mapping[str, str] | None,
        *,
        elsewhere: bool,
    ) -> None:
        self.warnings: list[Diagnostic] = []
        self._document = document
        self._faults = faults
        self._environment = environment
        self._elsewhere = elsewhere
        # Where values are not known, so that nothing is said of them.
        self._unknown: set[Location] = set()
        # The key of the tasks, also where it is misspelled.
        self._items_key = ITEMS
        self._top = Level("the top level of the file", frozenset((ITEMS, *Settings.model_fields)))

    def build(
        self, values: dict[str, Any], options: Mapping[str, Any]
    ) -> tuple[Settings | None, dict[int, Task]]:
        """The settings, and the tasks that are right, by their numbers."""
        for key in [key for key in values if key not in self._top.keys]:
            # Checked here, and not by the layers, which know nothing of lines.
            value = values.pop(key)
            if str(key).startswith(OWN_KEYS):
                continue
            guess, hint = self._meant(str(key), values)
            self._note((key,), f"unknown key {key!r}", hint)
            if guess == ITEMS and ITEMS not in values:
                self._items_key, values[ITEMS] = key, value
        items = values.pop(ITEMS, None)
        if self._environment is not None:
            values, items = self._expanded(values, items, self._environment)
        settings = self._settings(values, options)
        return settings, self._tasks(items)

    def _expanded(
        self, values: dict[str, Any], items: object, environment: Mapping[str, str]
    ) -> tuple[dict[str, Any], object]:
        """Settings and tasks with their variables expanded; notes what is wrong with these."""
        expanded = expand({**values, self._items_key: items}, self._items_key, environment)
        unknown_is: Literal["error", "warning"] = "warning" if self._elsewhere else "error"
        self._note_all(expanded.faults, "error")
        self._note_all(expanded.unknown, unknown_is)
        self._note_all(expanded.hints, "warning")
        self._unknown = {each.location for each in (*expanded.unknown, *expanded.faults)}
        found = dict(expanded.data)
        items = found.pop(self._items_key)
        return found, items

    def _meant(self, key: str, values: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """What was meant by an unknown key at the top."""
        if ITEMS not in values and nearest(key, [ITEMS]):
            return ITEMS, f"did you mean '{ITEMS}'?"
        found: tuple[str | None, str | None] = (None, None)
        for class_ in (classes := _classes(values.get(ITEMS))):
            found = unknown_key(key, self._top.keys, [self._top, *levels_of(class_)], 0)
            if found[0] is None and found[1]:
                return found
        return found if classes else unknown_key(key, self._top.keys, [self._top], 0)

    def _settings(self, values: dict[str, Any], options: Mapping[str, Any]) -> Settings | None:
        given = {name: value for name, value in options.items() if value is not None}
        environment = in_environment()

        def place(location: Sequence[str | int]) -> Place:
            name = str(location[0]) if location else ""
            if name in given:
                return Place(f"option --{name.replace('_', '-')}")
            if name in environment:
                return Place(f"environment {PREFIX}{name.upper()}")
            return self._document.place(location)

        try:
            return layered(values, given)
        except ValidationError as error:
            self._faults += [
                Diagnostic(place(found.location), *_of_option(found))
                for found in findings(error, values)
                if found.location not in self._unknown
            ]
        return None

    def _tasks(self, items: object) -> dict[int, Task]:
        if not isinstance(items, list) or not items:
            self._note((self._items_key,), "must be a list with at least one task")
            return {}
        found = {n: self._task((self._items_key, n), item) for n, item in enumerate(items)}
        return {number: task for number, task in found.items() if task is not None}

    def _task(self, location: tuple[str | int, ...], given: object) -> Task | None:
        if not isinstance(given, dict):
            self._note(location, "a task must be a mapping: keys and values")
            return None
        class_, item = self._class(location, given)
        if class_ is None:
            return None
        task, found = check(class_, item, self._top)
        is_guess = item is not given
        for each in found:
            if is_guess and each.problem == MISSING and len(each.location) == 1:
                continue  # the type is only a guess
            if (at := (*location, *each.location)) not in self._unknown:
                self._note(at, each.problem, each.hint)
        return task

    def _class(
        self, location: tuple[str | int, ...], item: dict[str, Any]
    ) -> tuple[type[Task] | None, dict[str, Any]]:
        """The class of a task, or the one that was probably meant, and its data for that."""
        known = sorted(task_types())
        types = f"known types are {', '.join(known)}"
        type_ = item.get("type")
        if type_ is None:
            wrong = nearest("type", map(str, item), {})
            meant = f"did you mean 'type' where you wrote '{wrong}'? " if wrong else ""
            self._note(location, "'type' is missing", f"{meant}{types}")
            if wrong is None:
                return None, item
            item = {**item, "type": item[wrong]}
            type_ = item.pop(wrong)
        guess: str | None = None
        try:
            if isinstance(type_, str) and (class_ := task_class(type_)):
                return class_, item
            if (*location, "type") in self._unknown:
                return None, item
            guess = nearest(str(type_), known, TYPES)
            meant = f"did you mean '{guess}'? " if guess else ""
            self._note((*location, "type"), "unknown task type", f"{meant}{types}")
            return (task_class(guess) if guess else None), {**item, "type": guess}
        except ConfigError as error:
            self._note((*location, "type"), error.message)
            return None, item

    def _note(self, location: Sequence[str | int], problem: str, hint: str | None = None) -> None:
        self._faults.append(Diagnostic(self._document.place(location), problem, hint))

    def _note_all(self, notes: Iterable[Note], severity: Literal["error", "warning"]) -> None:
        to = self._faults if severity == "error" else self.warnings
        to += [
            Diagnostic(self._document.place(each.location), each.problem, each.hint, severity)
            for each in notes
        ]


def _of_option(found: Finding) -> tuple[str, str | None]:
    """What is wrong with a setting; an unknown one can only be an option of a program."""
    name = str(found.location[0]) if found.location else ""
    if not name or name in Settings.model_fields:
        return found.problem, found.hint
    guess = nearest(name, Settings.model_fields)
    return f"unknown option {name!r}", guess and f"did you mean '{guess}'?"


def _classes(items: object) -> list[type[Task]]:
    """The classes of the tasks of a file, as far as they are known."""
    entries = items if isinstance(items, list) else []
    named = [entry.get("type") for entry in entries if isinstance(entry, dict)]
    found = []
    for type_ in sorted({each for each in named if isinstance(each, str)}):
        try:
            class_ = task_class(type_) or task_class(nearest(type_, task_types(), TYPES) or "")
        except ConfigError:
            continue  # said where the task is
        found += [class_] if class_ else []
    return found
