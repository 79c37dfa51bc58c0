"""``kaiwo clean``: what runs that are over left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kaiwo import environment, units
from kaiwo.api.orders import order_of
from kaiwo.cli import results
from kaiwo.cli.logs import early_format, early_level, log_to_stderr
from kaiwo.config import loader
from kaiwo.net import proxies
from kaiwo.state import leftovers
from kaiwo.state.leftovers import Leftovers
from kaiwo.state.state import root_of


def clean(config_file: str, options: Mapping[str, Any], *, yes: bool, partial: bool) -> int:
    """Print what runs that are over left behind, and remove it if ``yes``.

    Args:
        config_file: its targets say where to look.
        options: of the run.
        yes: remove it.
        partial: remove what a later run could resume, too.
    """
    log_to_stderr(early_level(options["log_level"]), early_format(options["log_format"]))
    loaded = loader.load(config_file, options)
    log_to_stderr(loaded.settings.log_level, loaded.settings.log_format)
    state_dir = loaded.settings.state_dir
    with environment.cleaned(proxies.canonical):
        asked = order_of(loaded, is_run=False).asked
        roots = {root: None for want in asked if (root := root_of(want))}
    found = [leftovers.find(root, state_dir) for root in roots]
    results.show(_lines(found, yes=yes, partial=partial))
    if yes:
        for each in found:
            if not each.holders:
                leftovers.remove(each, state_dir, partial=partial)
    return 0


def _lines(found: Sequence[Leftovers], *, yes: bool, partial: bool) -> Iterator[str]:
    for each in found:
        if each.holders or each.unsure or not each.is_empty:
            yield units.printable(each.root)
            yield from _of_root(each, partial=partial)
    if not any(map(_is_removable if not partial else _is_left, found)):
        yield "nothing to remove"
    elif not yes:
        yield "nothing was removed; --yes removes it"


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
