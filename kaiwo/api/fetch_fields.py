"""The fields that ``kaiwo.fetch`` and ``kaiwo fetch`` are given, and what is wrong with them.

They become a configuration with one task. Nobody has written that as a file: errors name the
argument, the option or the URL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from kaiwo import redact
from kaiwo.config.diagnostics import Diagnostic, Place, invalid, step_text
from kaiwo.config.document import Document
from kaiwo.config.settings import PREFIX, Settings
from kaiwo.config.suggestions import nearest
from kaiwo.tasks.base import Task
from kaiwo.tasks.items import FileItem, FolderItem


class Spelling(Struct, frozen=True):
    """How the user gives fields.

    Attributes:
        field: the name of a field as it is given.
        setting: how to set an option of the run.
    """

    field: Callable[[str], str]
    setting: Callable[[str], str]


OF_COMMAND = Spelling("-o {}".format, lambda name: f"write --{name.replace('_', '-')}")
OF_PROGRAM = Spelling("argument {}".format, lambda name: f"set {PREFIX}{name.upper()}")
#: fsspec's filesystems have other names for some.
OF_FSSPEC = Spelling("the option for {}".format, OF_PROGRAM.setting)


class FetchDocument(Document, frozen=True):
    """The configuration of a request.

    Attributes:
        given: the names of the fields that the user gave.
        spelling: how.
    """

    given: frozenset[str] = frozenset()
    spelling: Spelling = OF_PROGRAM

    def where(self, location: Sequence[str | int]) -> str:
        """See ``Document``."""
        return str(self.place(location))

    def place(self, location: Sequence[str | int]) -> Place:
        """The field that was given, or what the value follows from."""
        for number, step in enumerate(location):
            if step in self.given:
                field = "".join(map(step_text, location[number + 1 :])).removeprefix(".")
                return Place(self.spelling.field(redact.key(str(step))), field=field)
        return Place("the target" if "target_path" in location else "the URL")


def require_known(fields: Mapping[str, Any], class_: type[Task], spelling: Spelling) -> None:
    """Return if tasks of this type have all these fields.

    Raises:
        ConfigError: it names all others, and what was meant.
    """
    known = class_.model_fields.keys() - {"type"}
    if unknown := [*_unknown(fields.keys() - known, class_, known, spelling)]:
        raise invalid(unknown)


def _unknown(
    names: Collection[str], class_: type[Task], known: Collection[str], spelling: Spelling
) -> Iterator[Diagnostic]:
    of_items = FolderItem.model_fields.keys() | FileItem.model_fields.keys()
    for name in sorted(names):
        guess = nearest(name, (*known, *of_items - {"target_path", "file", "folder"}))
        problem = f"{class_.model_fields['type'].default} tasks have no such field"
        hint = f"did you mean '{guess}'?" if guess else None
        if name in Settings.model_fields:
            problem, hint = "this is an option of the run, and no field", spelling.setting(name)
        yield Diagnostic(Place(spelling.field(redact.key(name))), problem, hint)
