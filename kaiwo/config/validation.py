"""Pydantic's errors as findings for people: where the fault is, what it is, and what was meant.

All faults are found at once. A misspelled key would hide what is below it, and any fault of a field
hides which fields exclude each other. So misspelled keys get their right name, in a copy, and the
copy is validated again; and contradictions are looked for among the fields without a fault.

A value is never shown: it may be a secret, above all when its key is misspelled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from kaiwo import redact
from kaiwo.config.document import FILE_ITEM, FOLDER_ITEM, without_tags
from kaiwo.config.suggestions import Level, nearest, unknown_key
from kaiwo.tasks.base import CONTRADICTION, Task
from kaiwo.tasks.items import ITEM_KINDS, NO_KIND, Bucket, FileItem, FolderItem, item_keys
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.signature import Signature

Location = tuple[str | int, ...]
#: Pydantic's errors, as it describes them.
Faults = Sequence[Mapping[str, Any]]

MISSING = "is required"
#: The only field of a task that is a mapping with known keys.
_SIGNATURE = "signature"
_NO_TIME = "must be a time with its zone, such as 2026-03-01T00:00:00Z"
#: Sentences for pydantic's types of errors; braces are filled from its context.
_REASONS = {
    "missing": MISSING,
    "string_type": "must be a string: put it in quotes",
    "secret_str": "must be a string: put it in quotes",
    "string_too_short": "is empty",
    "tuple_type": "must be a list: write [one, two]",
    "list_type": "must be a list: write [one, two]",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be finite",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping: keys and values",
    "model_type": "must be a mapping: keys and values",
    "model_attributes_type": "must be a mapping: keys and values",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "datetime_type": _NO_TIME,
    "datetime_parsing": _NO_TIME,
    "datetime_from_date_parsing": _NO_TIME,
    "timezone_aware": _NO_TIME,
    "literal_error": "must be one of {expected}",
}
_STRINGS = ("string_type", "secret_str")
#: Each round finds what the misspelled keys of the round before have hidden.
_MOST_ROUNDS = 6


class Finding(Struct, frozen=True):
    """One fault: where it is in what was validated, what is wrong, what to do."""

    location: Location
    problem: str
    hint: str | None = None


class Checked(Struct, frozen=True):
    """One entry of ``download_items``, validated.

    Attributes:
        task: None if something is wrong with it.
        findings: everything that is wrong.
        part: the task, without what is wrong; None where too much is.
        original: gives a location in the part with the keys that the file has.
    """

    task: Task | None
    findings: Sequence[Finding]
    part: Task | None
    original: Callable[[Location], Location]


def check(class_: type[Task], data: Mapping[str, Any], top: Level) -> Checked:
    """Validate one entry of ``download_items``.

    Args:
        class_: of the task.
        data: as it is in the file.
        top: the level above the task.
    """
    try:
        task = class_.model_validate(data)
        return Checked(task, (), task, lambda location: location)
    except ValidationError as error:
        from kaiwo.config.sound_part import sound_part  # noqa: PLC0415 - for wrong files only

        repaired = _Repaired(class_, data, top)
        failed: ValidationError | None = error
        for _ in range(_MOST_ROUNDS):
            if failed is None or not repaired.rename_keys(_errors(failed)):
                break
            failed = _failure(class_, repaired.data)
        if failed is not None:
            repaired.describe(_errors(failed))
        # A task is never left out in silence.
        found = repaired.findings or tuple(findings(error))
        return Checked(None, found, sound_part(class_, repaired.data), repaired.original)


def findings(error: ValidationError, data: Any = None) -> Iterator[Finding]:
    """What is wrong with values.

    Args:
        error: pydantic's; its inputs are not used.
        data: what was validated; only the types of its values are used.
    """
    return _findings(_errors(error), data)


def _findings(faults: Faults, data: Any) -> Iterator[Finding]:
    for fault in faults:
        location = fault["loc"]
        inside = (other["loc"][: len(location)] == location for other in faults if other != fault)
        if fault["type"] == "too_short" and any(inside):
            continue  # pydantic counts only the entries without a fault
        yield Finding(without_tags(location), _reason(fault, data))


def levels_of(class_: type[Task]) -> list[Level]:
    """The levels of a task, from the task itself down to its items."""
    levels = [Level("the task", frozenset(class_.model_fields))]
    if issubclass(class_, BucketTask):
        name = f"an entry of '{class_.holder}'"
        levels.append(Level(name, frozenset(Bucket.model_fields)))
    if len(levels) > 1 or "items" in class_.model_fields:
        keys = frozenset((*FolderItem.model_fields, *FileItem.model_fields))
        levels.append(Level("an entry of 'items'", keys))
    return levels


def _failure(class_: type[Task], data: Any) -> ValidationError | None:
    try:
        class_.model_validate(data)
    except ValidationError as error:
        return error
    return None


def _errors(error: ValidationError) -> Faults:
    return error.errors(include_input=False, include_url=False, include_context=True)


def _reason(fault: Mapping[str, Any], data: Any) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "too_short":
        return "needs at least one entry" if context["field_type"] == "Tuple" else "is empty"
    if fault["type"] in _STRINGS:
        value = _at(data, fault["loc"])
        if isinstance(value, list | dict):
            return f"must be a string, not a {'list' if isinstance(value, list) else 'mapping'}"
    reason = _REASONS.get(fault["type"])
    return str(fault["msg"]) if reason is None else reason.format(**context)


class _Repaired:
    """A copy of a task's data, in which misspelled keys get their right name."""

    def __init__(self, class_: type[Task], data: Mapping[str, Any], top: Level) -> None:
        self.data = _copied(data)
        self.findings: list[Finding] = []
        self._class = class_
        self._levels = [top, *levels_of(class_)]
        # The right name of a key, with its location, and the key that the file has.
        self._renamed: dict[Location, str] = {}

    def rename_keys(self, faults: Iterable[Mapping[str, Any]]) -> bool:
        """Note unknown keys and take them out; a misspelled one comes back by its right name.

        Returns:
            Whether there were any: what they have hidden can be seen now.
        """
        noted = len(self.findings)
        for fault in faults:
            location: Location = fault["loc"]
            if fault["type"] == "extra_forbidden":
                at, key = location[:-1], str(location[-1])
                self._rename(at, key, self._fields_at(at))
            elif fault["type"] == NO_KIND:
                self._rename_kind(location)
        return len(self.findings) > noted

    def describe(self, faults: Faults) -> None:
        """Note what is wrong with values, and the fields that contradict each other."""
        values = [fault for fault in faults if fault["type"] != CONTRADICTION]
        for found in _findings(values, self.data):
            if found.location not in self._renamed:
                self._note(found.location, found.problem)
        noted = {found.location for found in self.findings}
        for field, problem in _unvalidated(self._class, self.data).contradictions():
            if self.original((field,)) not in noted:  # one finding for each key
                self._note((field,), problem)

    def original(self, location: Location) -> Location:
        """A location with the keys that the file has."""
        ends = range(1, len(location) + 1)
        return tuple(self._renamed.get(location[:end], location[end - 1]) for end in ends)

    def _rename_kind(self, location: Location) -> None:
        """Look for the misspelled 'folder' or 'file' of an item that has neither."""
        holder = item_keys(_at(self.data, location))
        known = {*FolderItem.model_fields, *FileItem.model_fields}
        if any(kind in holder for kind in ITEM_KINDS):
            return
        for key in [key for key in holder if key not in known]:
            if nearest(str(key), ITEM_KINDS):
                self._rename(location, str(key), ITEM_KINDS)
                return

    def _rename(self, location: Location, key: str, known: Iterable[str]) -> None:
        holder = item_keys(_at(self.data, location))
        value = holder.pop(key, None)
        location = without_tags(location)
        depth, levels = 1 + sum(isinstance(step, int) for step in location), self._levels
        if _SIGNATURE in location:
            depth, levels = 0, [Level(_SIGNATURE, frozenset(known))]
        guess, hint = unknown_key(key, known, levels, depth)
        self._note((*location, key), f"unknown key '{redact.key(key)}'", hint)
        if guess is not None and guess not in holder:
            holder[guess] = value
            self._renamed[(*location, guess)] = key

    def _note(self, location: Location, problem: str, hint: str | None = None) -> None:
        found = Finding(self.original(location), problem, hint)
        if found not in self.findings:
            self.findings.append(found)

    def _fields_at(self, location: Location) -> Iterable[str]:
        """The keys that are known at a location: of an item, a bucket, a field, or the task."""
        if _SIGNATURE in location:
            return Signature.model_fields
        if FOLDER_ITEM in location:
            return FolderItem.model_fields
        if FILE_ITEM in location:
            return FileItem.model_fields
        if any(isinstance(step, int) for step in location):
            return Bucket.model_fields
        return self._class.model_fields


def _unvalidated(class_: type[Task], data: Mapping[str, Any]) -> Task:
    """A task of these fields; those that are wrong are as they were written."""
    required = {name for name, field in class_.model_fields.items() if field.is_required()}
    values = dict(data)
    for name in data.keys() & (class_.model_fields.keys() - required):
        kind: TypeAdapter[Any] = TypeAdapter(class_.model_fields[name].annotation or Any)
        with contextlib.suppress(AttributeError, ValidationError, PydanticUserError):
            values[name] = kind.validate_python(data[name])
    return class_.model_construct(**values)


def _copied(value: Any) -> Any:
    """The data, with dicts and lists that can be changed."""
    if isinstance(value, Mapping):
        return {str(key): _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list | tuple) else value


def _at(data: Any, location: Location) -> Any:
    """What is at a location of pydantic's; None where there is nothing."""
    for step in without_tags(location):
        if isinstance(data, dict):
            data = (data if step in data else item_keys(data)).get(str(step))
        else:
            is_there = isinstance(data, list) and isinstance(step, int) and step < len(data)
            data = data[step] if is_there else None
    return data
