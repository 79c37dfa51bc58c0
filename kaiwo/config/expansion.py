"""Variables of the environment in the texts of a file.

    ${NAME}             the variable; it must be set
    ${NAME:-default}    the default where the variable is not set, or is empty
    $${                 a plain ${

Texts are expanded after YAML was parsed, so a value stays one text: it cannot add keys or items.
Secrets are taken as they are written: ``_file`` names a file instead. So are the user info and the
query of a URL, of which nothing is quoted either. Keys, and what is under a key that nobody knows,
are left alone: a secret may be there by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct, field

from kaiwo.config.settings import Settings
from kaiwo.errors import ConfigError
from kaiwo.tasks.registry import task_class

#: Top-level keys that begin so are the user's own.
OWN_KEYS = "x-"
Location = tuple[str | int, ...]
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^{}]*))?\}|\$\{")
#: A variable of a shell, which is none here.
_OF_SHELL = re.compile(r"(?<![\w$])\$([A-Za-z_]\w*)", re.ASCII)
#: The user info of a URL, or what comes before it; the slashes of a port are none of a password.
_USER_INFO = re.compile(r"[^/?#]*@|[^/:@{]*:(?!\d{0,5}(?:[/?#]|$)|\$\{[^{}]*\}[/?#]).*@", re.DOTALL)
#: Where the authority of a URL begins, also of one that lost a slash.
_SLASHES = re.compile(r"(?<=[\w}]):/{1,2}")
_WHOLLY = re.compile(r"\$(\{[A-Za-z_]\w*(:-[^{}]*)?\}|[A-Za-z_]\w*)", re.ASCII)
_OF_URL = (
    "user info and query of a URL are taken as they are written, and variables are not expanded",
    "write the values themselves, or use the fields for credentials",
)


class Note(Struct, frozen=True):
    """Something about the value at a location in the file, and what to do."""

    location: Location
    problem: str
    hint: str | None


class Expanded(Struct, frozen=True):
    """A file's data with its variables expanded.

    Attributes:
        data: the data.
        faults: what is no reference to a variable although it begins like one.
        unknown: variables that are not set; the texts hold them as they are written.
        hints: what may be meant as a variable and is none.
    """

    data: dict[str, Any]
    faults: list[Note] = field(default_factory=list)
    unknown: list[Note] = field(default_factory=list)
    hints: list[Note] = field(default_factory=list)

    def __repr__(self) -> str:
        """Without the data, which may hold secrets."""
        return f"Expanded({len(self.faults)} faults, {len(self.unknown)} unknown)"


def expand(data: Mapping[str, Any], items: str, environment: Mapping[str, str]) -> Expanded:
    """Expand all texts of a file that are no secrets.

    Args:
        data: of the file.
        items: the key of its tasks.
        environment: the variables.
    """
    expanded = Expanded(dict(data))
    walk = _Walk(expanded, environment)
    for name in Settings.model_fields.keys() & data.keys():
        expanded.data[name] = walk.value(data[name], (name,), ())
    tasks = data.get(items)
    if isinstance(tasks, list):
        expanded.data[items] = [
            walk.task(task, (items, number)) for number, task in enumerate(tasks)
        ]
    return expanded


class _Walk:
    """Goes through the data, and notes what it finds."""

    def __init__(self, expanded: Expanded, environment: Mapping[str, str]) -> None:
        self._expanded = expanded
        self._environment = environment

    def task(self, task: Any, location: Location) -> Any:
        if not isinstance(task, dict):
            return task
        found = dict(task)
        if "type" in task:
            found["type"] = self.value(task["type"], (*location, "type"), ())
        try:
            class_ = task_class(found["type"])
        except (KeyError, TypeError, ConfigError):
            class_ = None
        if class_ is None:
            return found
        secrets = class_.secret_names()
        for name in class_.model_fields.keys() & task.keys() - {"type"}:
            if name in secrets:
                self._note_secret(task[name], (*location, name), class_.model_fields)
            else:
                found[name] = self.value(task[name], (*location, name), secrets)
        return found

    def value(self, value: Any, location: Location, secrets: Collection[str]) -> Any:
        """The value with all texts in it expanded, but those under the names of secrets."""
        if isinstance(value, str):
            return self._text(value, location)
        if isinstance(value, list | tuple):
            return [
                self.value(each, (*location, number), secrets) for number, each in enumerate(value)
            ]
        if not isinstance(value, dict):
            return value
        return {
            key: each if key in secrets else self.value(each, _step(location, value, key), secrets)
            for key, each in value.items()
        }

    def _text(self, text: str, location: Location) -> str:
        secret = _secret_parts(text)
        for match in _OF_SHELL.finditer(text):
            name = match[1]
            if not _is_in(match, secret) and (name in self._environment or name.isupper()):
                problem = f"'${name}' is taken as it is written"
                hint = f"write ${{{name}}} for the variable"
                self._expanded.hints.append(Note(location, problem, hint))
        references = list(_REFERENCE.finditer(text))
        if any(match["name"] and _is_in(match, secret) for match in references):
            self._expanded.hints.append(Note(location, *_OF_URL))
        if any(match[0] == "${" and not _is_in(match, secret) for match in references):
            hint = "write ${NAME} or ${NAME:-default}, or $${ for a plain ${"
            self._expanded.faults.append(Note(location, "'${' begins no variable here", hint))
            return text
        return _REFERENCE.sub(
            lambda match: match[0] if _is_in(match, secret) else self._replaced(match, location),
            text,
        )

    def _replaced(self, match: re.Match[str], location: Location) -> str:
        name, default = match["name"], match["default"]
        if name is None:
            return "${"
        found = self._environment.get(name)
        if default is not None:
            return found or default
        if found is None:
            hint = f"set it, or write ${{{name}:-default}}"
            self._expanded.unknown.append(Note(location, f"the environment has no {name}", hint))
            return match[0]
        return found

    def _note_secret(self, value: Any, location: Location, fields: Collection[str]) -> None:
        if isinstance(value, str) and _WHOLLY.fullmatch(value):
            other = f"{location[-1]}_file"
            hint = f"name a file with {other}" if other in fields else None
            problem = "a secret is taken as it is written, and variables are not expanded"
            self._expanded.hints.append(Note(location, problem, hint))


def _secret_parts(text: str) -> list[tuple[int, int]]:
    """Where user info and query are in a text, if it is a URL."""
    if (slashes := _SLASHES.search(text)) is None:
        return []
    user_info = _USER_INFO.match(text, slashes.end())
    start = user_info.end() if user_info else slashes.end()
    query = text.find("?", start) if slashes[0] == "://" else -1
    parts = [(slashes.end(), start)]
    return parts if query < 0 else [*parts, (query, len(text))]


def _is_in(match: re.Match[str], parts: list[tuple[int, int]]) -> bool:
    return any(start <= match.start() < end for start, end in parts)


def _step(location: Location, mapping: Mapping[str, Any], key: str) -> Location:
    """The location under a key; that of an item of the nested form is that of the flat form."""
    is_nested = len(mapping) == 1 and key in ("folder", "file") and isinstance(mapping[key], dict)
    return location if is_nested else (*location, key)
