"""The file, the environment and the options, as one frozen configuration.

Errors name file, line, column and field, suggest what was meant, and never show a value: a value
may be a secret, above all when its key is misspelled. All faults are reported at once.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from kaiwo.config import targets
from kaiwo.config.building import Builder
from kaiwo.config.diagnostics import Diagnostic, InvalidConfigError, Place, invalid
from kaiwo.config.document import Document, parse
from kaiwo.config.settings import ITEMS, Settings, of_command
from kaiwo.config.targets import Placed
from kaiwo.errors import ConfigError
from kaiwo.files.placement import absolute
from kaiwo.loading import loading
from kaiwo.tasks.base import Task


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
        if faults := list(_conflicts(self._placed(), self.settings)):
            raise invalid([*faults, *self.warnings()])

    def warnings(self) -> list[Diagnostic]:
        """What is allowed and probably not meant."""
        return [*self.of_variables, *targets.globs_not_meant(self._placed())]

    def _placed(self) -> list[Placed]:
        return [
            Placed(task, functools.partial(self._place, number))
            for number, task in enumerate(self.tasks)
        ]

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
    option: Callable[[str], str] = of_command,
) -> Config:
    """Read and validate a file; opens no secret file and no connection.

    Args:
        path: of the YAML file.
        options: of the command, by the names of the settings.
        elsewhere: it will be used in another environment, so that variables may be unknown here.
        option: gives the name of an option, for errors.

    Raises:
        ConfigError: the file, the environment or an option is wrong; it names every fault.
    """
    name = os.fspath(path)
    return build(parse(_read(name), name), options, os.environ, elsewhere=elsewhere, option=option)


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
    option: Callable[[str], str] = of_command,
) -> Config:
    """Validate a document that has been read already; see ``load``.

    Args:
        document: what was read.
        options: of the command.
        environment: the variables that its texts may name; None: they name none.
        elsewhere: see ``load``.
        option: see ``load``.
    """
    faults = list(document.faults)
    data = document.data
    if not isinstance(data, dict):
        problem = "the file must be a mapping: keys and values"
        raise invalid([*faults, Diagnostic(document.place(()), problem)])
    with loading():  # pydantic completes a model at its first use, and a fork must not divide that
        builder = Builder(document, faults, environment, elsewhere=elsewhere, option=option)
        settings, tasks = builder.build(dict(data), options or {})
    if faults:
        parts = builder.parts.values()
        also = (*_conflicts(parts, settings), *targets.globs_not_meant(parts))
        raise invalid([*faults, *builder.warnings, *also])
    return Config(settings, tuple(tasks.values()), document, tuple(tasks), (*builder.warnings,))


def _conflicts(tasks: Collection[Placed], settings: Settings) -> Iterable[Diagnostic]:
    try:
        root = absolute(settings.download_root or ".")
    except ConfigError:  # there is no home or working directory: a run will say so
        return ()
    return targets.conflicts(tasks, root)
