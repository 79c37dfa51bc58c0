"""What is known of sources and targets without asking any service.

Two items that name one file each, and the same target, exclude each other. A ``*`` in the name of a
file is taken as it is, which is right for few names: ``kaiwo validate`` warns of it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence

from kaiwo.config.diagnostics import Diagnostic, Place
from kaiwo.tasks.base import Location, Task

#: Gives the place of a location in the task of a number.
PlaceOf = Callable[[int, Location], Place]
_HINT = "give one of them another target_path"


def conflicts(place_of: PlaceOf, tasks: Sequence[Task], download_root: str) -> Iterator[Diagnostic]:
    """The files whose targets exclude each other."""
    owners: dict[str, tuple[int, Location, str]] = {}
    for number, task in enumerate(tasks):
        for location, source, target in task.named_targets(download_root):
            if target not in owners:
                owners[target] = number, location, source
            elif source != owners[target][2]:
                problem = f"this is the target of {_named(place_of(*owners[target][:2]))} too"
                yield Diagnostic(place_of(number, location), problem, _HINT)
    for target, (number, location, _) in owners.items():
        for above in _folders(target):
            if above in owners:
                file = _named(place_of(*owners[above][:2]))
                problem = f"this needs a folder where {file} puts a file"
                yield Diagnostic(place_of(number, location), problem, _HINT)


def globs_not_meant(place_of: PlaceOf, tasks: Sequence[Task]) -> Iterator[Diagnostic]:
    """The names with a glob in them, where none is expanded."""
    for number, task in enumerate(tasks):
        for location, fault, hint in task.globs_not_meant():
            yield Diagnostic(place_of(number, location), fault, hint, "warning")


def _folders(path: str) -> Iterator[str]:
    """The folders above an absolute path."""
    while (above := posixpath.dirname(path)) != path:
        yield above
        path = above


def _named(place: Place) -> str:
    """A place of the same file, for people."""
    return place.field if place.line is None else f"{place.field} on line {place.line}"
