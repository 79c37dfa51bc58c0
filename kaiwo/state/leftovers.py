"""What runs that are over left behind in a root, and its removal.

    temporary files    of such runs, as far as their journals name the folders, and of the state;
                       those that a later run can resume are told apart
    journals           that name nothing else any more
    generations        of snapshots to which no run has switched; a later run can continue them
    claims             of such runs
    plans of shards    with what these have left; a plan that is not finished can be resumed
    manifest lines     of files that are gone

Never a file that is in place, and nothing at all in a root where a run is at work: which of these
files it needs, only it knows. A run whose process this machine cannot ask about shows that it lives
by touching its claims, so that is waited for.

A line of the manifest goes only when another file of it is still as it was published. Else the root
may be an empty folder to which a volume is not mounted, or another volume.
"""

from __future__ import annotations

import contextlib
import logging
import os
import posixpath
import shutil
import time
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from kaiwo.files import generations
from kaiwo.files.folders import in_folder, resolved
from kaiwo.files.generations import has_next
from kaiwo.files.paths import is_within
from kaiwo.files.temporary_files import discard
from kaiwo.own_names import STATE_FOLDER, is_temporary_of
from kaiwo.state import shared_parts
from kaiwo.state.claim_files import ForeignClaim, read_claim, remove_folder
from kaiwo.state.claims import FORGOTTEN_NS, USUAL, Timing
from kaiwo.state.earlier_runs import EarlierRun, earlier_runs
from kaiwo.state.folder import (
    claim_paths,
    claims_folder,
    manifest_path,
    meeting_folders,
    part_paths,
    unpacking_folder,
)
from kaiwo.state.manifest import Manifest
from kaiwo.state.processes import is_running
from kaiwo.state.sharing import root_of_state

logger = logging.getLogger(__name__)
#: While a claim may be touched, it is looked at so often.
_LOOK_S = 0.5


class Leftovers(Struct, frozen=True):
    """What may be removed in a root; paths are absolute.

    Attributes:
        root: see ``Transfer.root``.
        temporary: files that no run can resume.
        resumable: files that a later run can resume.
        unswitched: targets of snapshots whose next generation was begun.
        journals: that name nothing but these files.
        claims: of runs that are over.
        gone: targets of the manifest that do not exist any more.
        holders: runs that are at work there; then nothing else is listed.
        unsure: targets seem to be gone, but perhaps the volume is not there.
    """

    root: str
    temporary: tuple[str, ...] = ()
    resumable: tuple[str, ...] = ()
    unswitched: tuple[str, ...] = ()
    journals: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    unsure: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing is left behind."""
        left = self.temporary or self.resumable or self.unswitched
        return not (left or self.journals or self.claims or self.gone)


def find(
    root: str,
    state_dir: str | None = None,
    timing: Timing = USUAL,
    snapshots: Iterable[str] = (),
) -> Leftovers:
    """What runs that are over left in a root.

    Args:
        root: absolute path.
        state_dir: see ``folder.py``.
        timing: how long a claim is watched.
        snapshots: targets of snapshots in that root; those right in it are found without.
    """
    dead, holders = _claims(claims_folder(root, state_dir), timing)
    if holders:
        return Leftovers(root, holders=holders)
    temporary: list[str] = []
    resumable: list[str] = []
    journals: list[str] = []
    for earlier in earlier_runs(root, state_dir):
        can_resume = [*dict.fromkeys(_resumable(earlier))]
        resumable += can_resume
        temporary += (each for each in _temporary(earlier) if each not in can_resume)
        journals.append(earlier.path)
    temporary += part_paths(root, state_dir)
    for path, is_needed in shared_parts.left(root) if state_dir is None else ():
        (resumable if is_needed else temporary).append(path)
    gone, unsure = Manifest(root, state_dir).gone()
    begun = dict.fromkeys((*generations.unswitched(root), *filter(has_next, snapshots)))
    left = tuple(temporary), tuple(resumable), tuple(begun), tuple(journals)
    return Leftovers(root, *left, dead, gone, unsure=unsure)


def remove(found: Leftovers, state_dir: str | None = None, *, partial: bool = False) -> None:
    """Remove what was found, unless a run has begun there since.

    Args:
        found: see ``find``.
        state_dir: see ``folder.py``.
        partial: what a run could resume, too.
    """
    folder = claims_folder(found.root, state_dir)
    if set(claim_paths(folder)) - set(found.claims):
        logger.warning("%s: a run has begun there; nothing is removed", found.root)
        return
    root = resolved(found.root)
    for path in (*found.temporary, *(found.resumable if partial else ())):
        in_root = is_within(path, found.root)
        discard(path, root if in_root else root_of_state(posixpath.dirname(path)))
    for target in found.unswitched if partial else ():
        with contextlib.suppress(OSError):
            generations.abandon(target, root)
    for earlier in earlier_runs(found.root, state_dir):
        if earlier.path in found.journals and not [*_resumable(earlier), *_temporary(earlier)]:
            discard(earlier.path, root_of_state(posixpath.dirname(earlier.path)))
    for path in found.claims:
        discard(path, root_of_state(folder))
    if found.gone:
        Manifest(found.root, state_dir).forget(found.gone)
    for each in (folder, *(meeting for _, meeting in meeting_folders(found.root))):
        remove_folder(each)
    above = posixpath.dirname(folder)
    if posixpath.basename(above) == STATE_FOLDER:
        remove_folder(above)


def forget(root: str) -> None:
    """Remove what the state in a root remembers of files that are in place.

    The next run there believes bytes alone. Nothing happens while a run is at work there, and what
    a run could resume stays.
    """
    folder = claims_folder(root)
    if claim_paths(folder):
        return
    manifest = manifest_path(root)
    state = posixpath.dirname(manifest)
    runs = (each for each in earlier_runs(root) if not [*_resumable(each), *_temporary(each)])
    for path in (manifest, *part_paths(root), *(each.path for each in runs)):
        discard(path, root_of_state(state))
    with contextlib.suppress(OSError):
        remove_staged(root)
    remove_folder(folder)
    remove_folder(state)


def remove_staged(root: str) -> None:
    """Remove the entries of an archive that were staged; raises OSError."""

    def remove(parent: int | None, name: str) -> None:
        shutil.rmtree(name, dir_fd=parent)

    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        in_folder(unpacking_folder(root), resolved(root), remove)


def _resumable(earlier: EarlierRun) -> Iterator[str]:
    """The temporary files of a run with bytes that a later run may believe."""
    for entry in earlier.entries:
        if entry.marks and os.path.lexists(entry.temporary):
            yield entry.temporary


def _temporary(earlier: EarlierRun) -> Iterator[str]:
    """All temporary files of a run."""
    found: dict[str, None] = {}
    for entry in earlier.entries:
        if os.path.lexists(entry.temporary):
            found[entry.temporary] = None
    for folder in earlier.folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if is_temporary_of(name, earlier.run):
                found[posixpath.join(folder, name)] = None
    yield from found


def _claims(folder: str, timing: Timing) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The claims of runs that are over, and the runs that are not."""
    dead: list[str] = []
    holders: list[str] = []
    waiting: list[tuple[ForeignClaim, int]] = []
    for path in claim_paths(folder):
        try:
            claim, touched_ns = read_claim(path, None)
        except OSError:
            continue
        alive = None if claim.process is None else is_running(claim.process)
        if claim.is_newer or alive:
            holders.append(claim.holder)
        elif alive is None and not _is_forgotten(touched_ns):
            waiting.append((claim, touched_ns))
        else:
            dead.append(path)
    if waiting and not holders:
        text = "%s: is another run still at work there? this takes up to %.0f s"
        logger.info(text, folder, timing.silence_s)
        end_s = time.monotonic() + timing.silence_s
        holders += (each.holder for each, at_ns in waiting if _is_touched(each, at_ns, end_s))
    if not holders:
        dead += (each.path for each, _ in waiting if os.path.lexists(each.path))
    return tuple(dead), tuple(sorted(set(holders)))


def _is_forgotten(touched_ns: int, now_ns: Callable[[], int] = time.time_ns) -> bool:
    """It is so old that no difference of clocks explains it."""
    return now_ns() - touched_ns > 2 * FORGOTTEN_NS


def _is_touched(claim: ForeignClaim, touched_ns: int, end_s: float) -> bool:
    """Whether its run touches it before that time; one that is withdrawn is no claim any more."""
    while True:
        try:
            _, now_ns = read_claim(claim.path, claim)
        except FileNotFoundError:
            return False
        if now_ns != touched_ns:
            return True
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(_LOOK_S, left_s))
