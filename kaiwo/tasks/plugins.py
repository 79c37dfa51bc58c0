"""Task types of other packages, found by the entry-point group ``kaiwo.tasks``.

    [project.entry-points."kaiwo.tasks"]
    shelf = "kaiwo_shelf:ShelfTask"

A package is imported when a configuration or a URL asks for its type. What is wrong with it
is an error of that type alone: commands that do not need the type do not notice.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from msgspec import Struct

from kaiwo import redact, units
from kaiwo.errors import ConfigError

if TYPE_CHECKING:
    from kaiwo.tasks.base import Task

GROUP = "kaiwo.tasks"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_LONGEST_REASON = 300


class Plugin(Struct, frozen=True):
    """A task type that another package registers.

    Attributes:
        name: of the type.
        path: ``module:class`` of its task.
        package: name and version of the package.
    """

    name: str
    path: str
    package: str

    def load(self) -> type[Task]:
        """The class, checked as far as it can be without a task.

        Raises:
            ConfigError: it cannot be used; the message says why.
        """
        try:
            return self._checked(self._imported())
        except ConfigError as error:
            raise ConfigError(
                f"task type {units.printable(self.name)!r} cannot be used: {error.message}; it is "
                f"registered by the package {units.printable(self.package)}: update or remove that"
            ) from None

    def _imported(self) -> object:
        module, _, path = self.path.partition(":")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # results alone go to stdout
                found: object = importlib.import_module(module)
            for step in path.split("."):
                found = getattr(found, step)
        except (Exception, SystemExit) as error:  # another package's code, which may do anything
            first = str(error).partition("\n")[0]
            text = units.printable(redact.text(first))[:_LONGEST_REASON]
            reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
            raise ConfigError(f"{self.path} cannot be imported ({reason})") from error
        return found

    def _checked(self, found: object) -> type[Task]:
        from kaiwo.tasks.base import Task  # noqa: PLC0415 - the tables need none of it

        if not (isinstance(found, type) and issubclass(found, Task)):
            raise ConfigError(f"{self.path} is not a kaiwo Task")
        if fault := _fault(found, self.name):
            raise ConfigError(f"{self.path} {fault}")
        return found


def installed() -> tuple[Plugin, ...]:
    """All that is registered, in the order of the names; no code of a package is run."""
    return _registered(tuple(sys.path))


@lru_cache(maxsize=4)
def _registered(_: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Read once for each search path: that takes as long as many packages are installed."""
    found = (
        Plugin(point.name, point.value.partition("[")[0].strip(), _package(point))
        for point in entry_points(group=GROUP)
    )
    return tuple(sorted(found, key=lambda each: (each.name, each.package, each.path)))


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "of an unknown name"


def _fault(class_: type[Task], name: str) -> str | None:
    """What a class lacks to be the task type of that name."""
    from kaiwo.tasks.object_store import BucketTask  # noqa: PLC0415

    if inspect.isabstract(class_):
        return f"does not define {', '.join(sorted(class_.__abstractmethods__))}"
    if class_.model_fields["type"].default != name:
        return f"needs the field type: Literal[{name!r}] = {name!r}"
    if issubclass(class_, BucketTask) and class_.holder not in class_.model_fields:
        return f"has no field {class_.holder!r}, which its 'holder' names"
    if not isinstance(class_.schemes, tuple) or not all(
        isinstance(each, str) and _SCHEME.fullmatch(each) for each in class_.schemes
    ):
        return "needs 'schemes' to be a tuple of names such as 'shelf', in lower case"
    return None
