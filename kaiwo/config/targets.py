"""What is known of sources and targets without asking any service.

Two items that name one file each, and the same target, exclude each other. A ``*`` in the name of a
file is taken as it is, which is right for few names: ``kaiwo validate`` warns of it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from kaiwo.config.diagnostics import Diagnostic, Place
from kaiwo.tasks.base import Location, Task

_HINT = "give one of them another target_path"
_BELOW = "let download_root be the folder above, and give target_path the name"


class Placed(Struct, frozen=True):
    """A task, or what is right of it; ``place`` gives the place of a location in it."""

    task: Task
    place: Callable[[Location], Place]


#: A task, where it names a target, and the source of that or the target itself.
_Owner = tuple[Placed, Location, str]


def conflicts(tasks: Iterable[Placed], download_root: str) -> Iterator[Diagnostic]:
    """The files whose targets exclude each other."""
    tasks = list(tasks)
    owners: dict[str, _Owner] = {}
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
    yield from _in_snapshots(tasks, owners, download_root)


def _in_snapshots(
    tasks: Iterable[Placed], owners: Mapping[str, _Owner], download_root: str
) -> Iterator[Diagnostic]:
    """The targets in a folder whose files change all at once, which is for one item alone."""
    folders: dict[str, _Owner] = {}
    for each in tasks:
        for location, folder in each.task.snapshots(download_root):
            if folder == download_root:
                problem = "this is download_root, and a snapshot has its files beside its target"
                yield Diagnostic(each.place(location), problem, _BELOW)
            if folder in folders:
                problem = f"this is the snapshot of {_named(folders[folder])} too"
                yield Diagnostic(each.place(location), problem, _HINT)
            folders.setdefault(folder, (each, location, folder))
    for target, owner in (*owners.items(), *folders.items()):
        for above in (target, *_folders(target)):
            if above in folders and not _is_of(owner, folders[above]):
                named = _named(folders[above])
                problem = f"this is in the snapshot of {named}, which holds nothing else"
                yield Diagnostic(owner[0].place(owner[1]), problem, _HINT)


def _is_of(owner: _Owner, snapshot: _Owner) -> bool:
    """Whether what is named there is of the item, or the task, of the snapshot."""
    above = snapshot[1][:-1]
    return owner[0] is snapshot[0] and owner[1][: len(above)] == above


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


def _named(owner: _Owner) -> str:
    """Where a target is named, in the same file, for people."""
    placed, location, _ = owner
    place = placed.place(location)
    return place.field if place.line is None else f"{place.field} on line {place.line}"
