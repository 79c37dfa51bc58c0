"""What is known of sources and targets without asking any service.

Two items that name one file each, and the same target, exclude each other. A ``*`` in the name of a
file is taken as it is, which is right for few names: ``kaiwo validate`` warns of it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from kaiwo.config.diagnostics import Diagnostic, Place
from kaiwo.tasks.base import Location, Task

_HINT = "give one of them another target_path"


class Placed(Struct, frozen=True):
    """A task, or what is right of it; ``place`` gives the place of a location in it."""

    task: Task
    place: Callable[[Location], Place]


def conflicts(tasks: Iterable[Placed], download_root: str) -> Iterator[Diagnostic]:
    """The files whose targets exclude each other."""
    owners: dict[str, tuple[Placed, Location, str]] = {}
    for each in tasks:
        for location, source, target in each.task.named_targets(download_root):
            if target not in owners:
                owners[target] = each, location, source
            elif source != owners[target][2]:
                problem = f"this is the target of {_named(owners[target])} too"
                yield Diagnostic(each.place(location), problem, _HINT)
    for target, (owner, location, _) in owners.items():
        for above in _folders(target):
            if above in owners:
                problem = f"this needs a folder where {_named(owners[above])} puts a file"
                yield Diagnostic(owner.place(location), problem, _HINT)


def globs_not_meant(tasks: Iterable[Placed]) -> Iterator[Diagnostic]:
    """The names with a glob in them, where none is expanded."""
    for each in tasks:
        for location, fault, hint in each.task.globs_not_meant():
            yield Diagnostic(each.place(location), fault, hint, "warning")


def _folders(path: str) -> Iterator[str]:
    """The folders above an absolute path."""
    while (above := posixpath.dirname(path)) != path:
        yield above
        path = above


def _named(owner: tuple[Placed, Location, str]) -> str:
    """Where a target is named, in the same file, for people."""
    placed, location, _ = owner
    place = placed.place(location)
    return place.field if place.line is None else f"{place.field} on line {place.line}"
