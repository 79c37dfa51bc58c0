"""Settings and tasks of a document, and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from kaiwo import redact
from kaiwo.config.diagnostics import Diagnostic, Place
from kaiwo.config.document import Document
from kaiwo.config.expansion import OWN_KEYS, Note, expand
from kaiwo.config.own_files import default_lock, doubles
from kaiwo.config.settings import ITEMS, PREFIX, Settings, in_environment, layered
from kaiwo.config.suggestions import TYPES, Level, nearest, unknown_key
from kaiwo.config.targets import Placed
from kaiwo.config.validation import MISSING, Finding, Location, check, findings, levels_of
from kaiwo.errors import ConfigError
from kaiwo.tasks.base import Task
from kaiwo.tasks.registry import task_class, task_types


class Builder:
    """Makes settings and tasks of a document, and notes what is wrong."""

    def __init__(
        self,
        document: Document,
        faults: list[Diagnostic],
        environment: Mapping[str, str] | None,
        *,
        elsewhere: bool,
        option: Callable[[str], str],
    ) -> None:
        self.warnings: list[Diagnostic] = []
        #: The tasks, and of those that are wrong what is right, by their numbers.
        self.parts: dict[int, Placed] = {}
        self._document = document
        self._faults = faults
        self._environment = environment
        self._elsewhere = elsewhere
        self._option = option
        # Where values are not known, so that nothing is said of them.
        self._unknown: set[Location] = set()
        # The key of the tasks, also where it is misspelled.
        self._items_key = ITEMS
        self._top = Level("the top level of the file", frozenset((ITEMS, *Settings.model_fields)))

    def build(
        self, values: dict[str, Any], options: Mapping[str, Any]
    ) -> tuple[Settings, dict[int, Task]]:
        """The settings and the tasks that are right; the tasks by their numbers."""
        for key in [key for key in values if key not in self._top.keys]:
            # Checked here, and not by the layers, which know nothing of lines.
            value = values.pop(key)
            if str(key).startswith(OWN_KEYS):
                continue
            guess, hint = self._meant(str(key), values)
            self._note((key,), f"unknown key '{redact.key(str(key))}'", hint)
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
        if key == "apiVersion":
            return None, (
                "this is a manifest of Kubernetes; give the kaiwo file inside it alone (`-` reads "
                "standard input)"
            )
        if ITEMS not in values and nearest(key, [ITEMS]):
            return ITEMS, f"did you mean '{ITEMS}'?"
        found: tuple[str | None, str | None] = (None, None)
        for class_ in (classes := _classes(values.get(ITEMS))):
            found = unknown_key(key, self._top.keys, [self._top, *levels_of(class_)], 0)
            if found[0] is None and found[1]:
                return found
        return found if classes else unknown_key(key, self._top.keys, [self._top], 0)

    def _settings(self, values: dict[str, Any], options: Mapping[str, Any]) -> Settings:
        given = {name: value for name, value in options.items() if value is not None}
        environment = in_environment()
        stronger = {*given, *environment}

        def place(location: Sequence[str | int]) -> Place:
            name = str(location[0]) if location else ""
            if name in given:
                return Place(self._option(redact.key(name)))
            if name in environment:
                return Place(f"environment {PREFIX}{name.upper()}")
            return self._document.place(location)

        try:
            settings = layered(values, given)
        except ValidationError as error:
            wrong = [*findings(error, values)]
        else:
            self._faults += [
                Diagnostic(place((name,)), f"this is {what}: name another file")
                for name, what in self._doubles(settings)
            ]
            return settings
        self._faults += [
            Diagnostic(place(found.location), *_of_option(found))
            for found in wrong
            if found.location not in self._unknown or found.location[0] in stronger
        ]
        names = {found.location[0] for found in wrong if found.location}
        try:
            return layered(_without(values, names), _without(given, names))
        except ValidationError:  # a variable of the environment is wrong
            return Settings()

    def _doubles(self, settings: Settings) -> list[tuple[str, str]]:
        """See ``own_files``."""
        config = self._document.path
        has_lock = settings.locked or settings.write_lock
        try:
            lock = settings.lock_file or (default_lock(config) if config and has_lock else "")
            return [*doubles(settings, config, lock)]
        except ConfigError:  # there is no home or working directory: a run will say so
            return []

    def _tasks(self, items: object) -> dict[int, Task]:
        if not isinstance(items, list) or not items:
            self._note((self._items_key,), "must be a list with at least one task")
            return {}
        found = {number: self._task(number, item) for number, item in enumerate(items)}
        return {number: task for number, task in found.items() if task is not None}

    def _task(self, number: int, given: object) -> Task | None:
        location = (self._items_key, number)
        if not isinstance(given, dict):
            self._note(location, "a task must be a mapping: keys and values")
            return None
        class_, item = self._class(location, given)
        if class_ is None:
            return None
        try:
            checked = check(class_, item, self._top)
        except Exception as error:
            if class_.__module__.startswith("kaiwo.tasks."):
                raise
            # Code of another package: its task is refused, and the others are looked at.
            problem = f"its task type fails with {type(error).__name__}; report it to its package"
            self._note(location, problem)
            return None
        if checked.part is not None:
            self.parts[number] = self._placed(location, checked.part, checked.original)
        is_guess = item is not given
        for each in checked.findings:
            if is_guess and each.problem == MISSING and len(each.location) == 1:
                continue  # the type is only a guess
            if (at := (*location, *each.location)) not in self._unknown:
                self._note(at, each.problem, each.hint)
        return checked.task

    def _placed(self, at: Location, part: Task, original: Callable[[Location], Location]) -> Placed:
        return Placed(part, lambda location: self._document.place((*at, *original(location))))

    def _class(
        self, location: tuple[str | int, ...], item: dict[str, Any]
    ) -> tuple[type[Task] | None, dict[str, Any]]:
        """The class of a task, or the one that was probably meant, and its data for that."""
        type_ = item.get("type")
        if type_ is None:
            wrong = nearest("type", map(str, item), {})
            meant = f"did you mean 'type' where you wrote '{redact.key(wrong)}'? " if wrong else ""
            self._note(location, "'type' is missing", f"{meant}{_known_types()}")
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
            guess = nearest(str(type_), task_types(), TYPES)
            meant = f"did you mean '{guess}'? " if guess else ""
            self._note((*location, "type"), "unknown task type", f"{meant}{_known_types()}")
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


def _known_types() -> str:
    """For a hint only: other packages' types are looked for in all that is installed."""
    return f"known types are {', '.join(sorted(task_types()))}"


def _without(values: Mapping[str, Any], names: Collection[object]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _of_option(found: Finding) -> tuple[str, str | None]:
    """What is wrong with a setting; an unknown one can only be an option of a program."""
    name = str(found.location[0]) if found.location else ""
    if not name or name in Settings.model_fields:
        return found.problem, found.hint
    guess = nearest(name, Settings.model_fields)
    return "there is no such option", guess and f"did you mean '{guess}'?"


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
