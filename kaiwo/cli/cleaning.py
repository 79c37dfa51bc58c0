"""``kaiwo clean``: what runs that are over left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaiwo import environment, units
from kaiwo.api.orders import order_of
from kaiwo.cli import config_file, results
from kaiwo.cli.logs import early_format, early_level, log_to_stderr
from kaiwo.config.settings import before_file
from kaiwo.errors import ConfigError
from kaiwo.files import generations
from kaiwo.files.placement import absolute, next_path
from kaiwo.net import proxies
from kaiwo.own_names import STATE_FOLDER
from kaiwo.planning.snapshots import in_snapshots
from kaiwo.state import leftovers
from kaiwo.state.leftovers import Leftovers

#: Folders that have the state of targets, each with the snapshots of a configuration in it.
_Roots = dict[str, list[str]]


def clean(place: str, options: Mapping[str, Any], *, yes: bool, partial: bool) -> int:
    """Print what runs that are over left behind, and remove it if ``yes``.

    Args:
        place: a folder that has the state of runs, or a configuration whose targets say where to
            look.
        options: of the run.
        yes: remove it.
        partial: remove what a later run could resume, too.
    """
    log_to_stderr(early_level(options["log_level"]), early_format(options["log_format"]))
    roots, state_dir = (_of_folder if os.path.isdir(place) else _of_config)(place, options)
    found = [
        leftovers.find(root, state_dir, snapshots=snapshots) for root, snapshots in roots.items()
    ]
    results.show(_lines(found, state_dir, yes=yes, partial=partial))
    if yes:
        for each in found:
            if not each.holders:
                leftovers.remove(each, state_dir, partial=partial)
    return 0


def _of_config(path: str, options: Mapping[str, Any]) -> tuple[_Roots, str | None]:
    """The folders that have the state of a configuration's targets, and the ``state_dir``."""
    loaded = config_file.load(path, options)
    log_to_stderr(loaded.settings.log_level, loaded.settings.log_format)
    with environment.cleaned(proxies.canonical):
        asked = order_of(loaded, is_run=False).asked
        roots: _Roots = {want.placement.root: [] for want in asked}
        for _, snapshot in in_snapshots(asked):
            roots.setdefault(snapshot.root, []).append(snapshot.folder)
    return roots, loaded.settings.state_dir


def _of_folder(path: str, options: Mapping[str, Any]) -> tuple[_Roots, str | None]:
    if options["download_root"] is not None:
        raise ConfigError("--download-root is for a CONFIG_FILE: a folder is looked in as it is")
    return {absolute(path): []}, before_file("state_dir", options)


def _lines(
    found: Sequence[Leftovers], state_dir: str | None, *, yes: bool, partial: bool
) -> Iterator[str]:
    for each in found:
        yield units.printable(each.root)
        if each.holders or each.unsure or not each.is_empty:
            yield from _of_root(each, partial=partial)
        else:
            yield f"  nothing{_why_nothing(each.root) if state_dir is None else ''}"
    if not any(map(_is_removable if not partial else _is_left, found)):
        yield "nothing to remove"
    elif not yes:
        yield "nothing was removed; --yes removes it"


def _why_nothing(root: str) -> str:
    """For people who look in the wrong folder; empty for the right one."""
    if not os.path.isdir(root):
        return ": there is no such folder"
    if os.path.isdir(os.path.join(root, STATE_FOLDER)):
        return ""
    there = (each for each in Path(root).parents if (each / STATE_FOLDER).is_dir())
    above = next(there, None)
    hint = "" if above is None else f"; {units.printable(str(above))} has some"
    return f": there is no state of kaiwo{hint}"


def _is_left(found: Leftovers) -> bool:
    return not found.is_empty


def _is_removable(found: Leftovers) -> bool:
    """Whether there is anything but what a run can resume, and the journals that say how."""
    journals_alone = bool(found.journals) and not found.resumable
    return bool(found.temporary or found.claims or found.gone or journals_alone)


def _of_root(found: Leftovers, *, partial: bool) -> Iterator[str]:
    for holder in found.holders:
        yield f"  {units.printable(holder)} is at work there: nothing is removed"
    if found.temporary:
        yield from _files(units.count(len(found.temporary), "temporary file"), found.temporary)
    if found.resumable:
        count = units.count(len(found.resumable), "file")
        kept = "" if partial else "; kept, --partial removes them"
        yield from _files(f"{count} that a run can resume{kept}", found.resumable)
    for target in found.unswitched:
        kept = "" if partial else "; kept, --partial removes it"
        yield f"  a generation that a run can continue{kept}"
        size = units.size(generations.size_of_next(target))
        yield f"  {size:>10}  {units.printable(next_path(target))}"
    if found.claims:
        yield f"  {units.count(len(found.claims), 'claim')} of runs that are over"
    if found.gone:
        lines = units.count(len(found.gone), "manifest line")
        yield f"  {lines} of files that are gone"
        for path in found.gone:
            yield f"              {units.printable(path)}"
    if found.unsure:
        yield (
            "  no file that kaiwo put there is as it was; is the volume mounted? its manifest is "
            "kept"
        )


def _files(title: str, paths: Sequence[str]) -> Iterator[str]:
    yield f"  {title}: {units.size(sum(map(_size, paths)))}"
    for path in paths:
        yield f"  {units.size(_size(path)):>10}  {units.printable(path)}"


def _size(path: str) -> int:
    """The bytes that it takes on the disk."""
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0
