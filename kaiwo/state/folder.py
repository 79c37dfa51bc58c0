"""The folder ``.kaiwo/`` of a root: the names of everything in it.

    <root>/.kaiwo/manifest.jsonl         what is in place                          manifest.py
    <root>/.kaiwo/journal-<run>.jsonl    what a run has begun and not finished     journal.py
    <root>/.kaiwo/claims/                who has which targets                     claim_files.py
        <run>-<attempt>-<number>.json
    <root>/.kaiwo/plan-<job>.jsonl       what all shards do                shards/plan_file.py
    <root>/.kaiwo/shard-<plan>-<index>.jsonl    how one of them ended      shards/results.py
    <root>/.kaiwo/ranges-<plan>-<run>.jsonl     what a run has of objects that shards share
    <root>/.kaiwo/run-<run>/             where a run meets workers of other processes   remote/
    <root>/.kaiwo/unpacking/             entries of an archive, until all are      initializer/
                                         there

With ``--state-dir`` the state of all roots is in that folder, apart by a hash of the root's path:

    <state_dir>/manifest-<hash>.jsonl
    <state_dir>/journal-<run>-<hash>.jsonl
    <state_dir>/claims-<hash>/

Where a run meets its workers stays in the root: that is what all of them see.

``<run>`` is the token of a run, in hexadecimal digits. Who may read and write: ``sharing.py``.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import posixpath
import re
from collections.abc import Callable, Iterator

from kaiwo.own_names import STATE_FOLDER

_LINES = ".jsonl"
_CLAIM = ".json"
_CLAIMS = "claims"
_CLAIMS_BY_HASH = re.compile(r"claims-[0-9a-f]{16}")
_JOURNAL = re.compile(r"journal-([0-9a-f]{1,32})")
_OF_PLAN = re.compile(r"(?:ranges|shard)-([0-9a-f]{16})-[0-9a-z]+")
_PLAN = re.compile(r"plan-[0-9a-f]{16}")
_MEETING = re.compile(r"run-([0-9a-f]{1,32})")


def manifest_path(root: str, state_dir: str | None = None) -> str:
    """The manifest of a root."""
    return _path(root, state_dir, "manifest", _LINES)


def journal_path(root: str, state_dir: str | None, run: str) -> str:
    """The journal of that run in a root."""
    return _path(root, state_dir, f"journal-{run}", _LINES)


def journal_paths(root: str, state_dir: str | None = None) -> list[tuple[str, str]]:
    """The journals of all runs in a root: the token of the run, and the path."""
    folder, ending = _folder_and_ending(root, state_dir)
    ending += _LINES
    return [
        (run[1], posixpath.join(folder, name))
        for name in _names_in(folder)
        if name.endswith(ending) and (run := _JOURNAL.fullmatch(name.removesuffix(ending)))
    ]


def plan_path(root: str, state_dir: str | None, job: str) -> str:
    """The plan of all shards of a job."""
    digest = hashlib.sha256(os.fsencode(job)).hexdigest()[:16]
    return _path(root, state_dir, f"plan-{digest}", _LINES)


def plan_paths(root: str, state_dir: str | None = None) -> list[str]:
    """The plans of all jobs in a root."""
    return list(_matching(root, state_dir, _PLAN.fullmatch))


def result_path(root: str, state_dir: str | None, plan: str, index: str) -> str:
    """How a shard of a plan ended.

    Args:
        root: of the plan.
        state_dir: see above.
        plan: its token.
        index: of the shard; ``all`` for all of them together.
    """
    return _path(root, state_dir, f"shard-{plan}-{index}", _LINES)


def shared_journal_path(root: str, state_dir: str | None, plan: str, run: str) -> str:
    """The journal of what a run has of the objects that the shards of a plan share."""
    return _path(root, state_dir, f"ranges-{plan}-{run}", _LINES)


def shared_journal_paths(root: str, state_dir: str | None, plan: str) -> list[str]:
    """The same of all runs."""
    return list(_matching(root, state_dir, re.compile(f"ranges-{plan}-[0-9a-f]+").fullmatch))


def plans_with_files(root: str, state_dir: str | None = None) -> set[str]:
    """The tokens of plans whose shards have written something there."""
    folder, ending = _folder_and_ending(root, state_dir)
    ending += _LINES
    stems = (name.removesuffix(ending) for name in _names_in(folder) if name.endswith(ending))
    return {found[1] for stem in stems if (found := _OF_PLAN.fullmatch(stem)) is not None}


def paths_of_plan(root: str, state_dir: str | None, plan: str) -> list[str]:
    """What the shards of a plan have written there, beside the plan itself."""

    def is_of_plan(stem: str) -> bool:
        found = _OF_PLAN.fullmatch(stem)
        return found is not None and found[1] == plan

    return list(_matching(root, state_dir, is_of_plan))


def _matching(root: str, state_dir: str | None, matches: Callable[[str], object]) -> Iterator[str]:
    folder, ending = _folder_and_ending(root, state_dir)
    ending += _LINES
    for name in _names_in(folder):
        if name.endswith(ending) and matches(name.removesuffix(ending)):
            yield posixpath.join(folder, name)


def meeting_folder(root: str, run: str) -> str:
    """The folder of a root where that run meets its workers of other processes."""
    return posixpath.join(root, STATE_FOLDER, f"run-{run}")


def meeting_folders(root: str) -> list[tuple[str, str]]:
    """Those of all runs: the token of the run, and the path."""
    folder = posixpath.join(root, STATE_FOLDER)
    found = ((_MEETING.fullmatch(name), name) for name in _names_in(folder))
    return [(run[1], posixpath.join(folder, name)) for run, name in found if run]


def claims_folder(root: str, state_dir: str | None = None) -> str:
    """The folder of the claims on targets of a root."""
    return _path(root, state_dir, _CLAIMS, "")


def unpacking_folder(root: str) -> str:
    """Where the entries of an archive are staged: always in the root, which they stay in."""
    return posixpath.join(root, STATE_FOLDER, "unpacking")


def is_claims_folder(folder: str) -> bool:
    """Whether that folder, of the state or above it, is one of claims."""
    parent, name = posixpath.split(folder)
    if posixpath.basename(parent) == STATE_FOLDER:
        return name == _CLAIMS
    return _CLAIMS_BY_HASH.fullmatch(name) is not None


def is_meeting_folder(folder: str) -> bool:
    """Whether that folder is one where a run meets its workers."""
    parent, name = posixpath.split(folder)
    return posixpath.basename(parent) == STATE_FOLDER and _MEETING.fullmatch(name) is not None


def claim_path(folder: str, run: str, attempt: int, number: int) -> str:
    """A claim in that folder of claims.

    Args:
        folder: see ``claims_folder``.
        run: the token of the run.
        attempt: counts how often the run has posted claims.
        number: of the folder in this attempt, since a run has one for each root.
    """
    return posixpath.join(folder, f"{run}-{attempt}-{number}{_CLAIM}")


def claim_part_path(path: str) -> str:
    """The temporary file of a claim; it is not taken for a claim."""
    return path.removesuffix(_CLAIM)


def claim_paths(folder: str) -> list[str]:
    """All claims in that folder of claims."""
    return [posixpath.join(folder, name) for name in _names_in(folder) if name.endswith(_CLAIM)]


def part_paths(root: str, state_dir: str | None = None) -> list[str]:
    """Temporary files of the state of a root: only a run that is at work there needs them."""
    folder, ending = _folder_and_ending(root, state_dir)
    claims = claims_folder(root, state_dir)
    return [
        *(
            posixpath.join(folder, name)
            for name in _names_in(folder)
            if f"{ending}{_LINES}." in name and name.endswith(".part")
        ),
        *(posixpath.join(claims, name) for name in _names_in(claims) if not name.endswith(_CLAIM)),
        *(
            posixpath.join(meeting, name)
            for _, meeting in meeting_folders(root)
            for name in _names_in(meeting)
        ),
    ]


def run_of_claim(path: str) -> str:
    """The token of the run that posted a claim."""
    return posixpath.basename(path).partition("-")[0]


def log_level(error: OSError, path: str) -> int:
    """How loudly to say that state cannot be written.

    Where the state is in its root, and that is mounted read-only, nothing is lost: all the files
    there are in place, or each that is not fails with the same reason.

    Args:
        error: the refusal.
        path: a file or folder that lies in the folder of the state.
    """
    in_root = posixpath.basename(posixpath.dirname(path)) == STATE_FOLDER
    return logging.INFO if in_root and error.errno == errno.EROFS else logging.WARNING


def _path(root: str, state_dir: str | None, stem: str, suffix: str) -> str:
    folder, ending = _folder_and_ending(root, state_dir)
    return posixpath.join(folder, stem + ending + suffix)


def _folder_and_ending(root: str, state_dir: str | None) -> tuple[str, str]:
    """The folder of a root's state, and what its names have before their suffix."""
    if state_dir is None:
        return posixpath.join(root, STATE_FOLDER), ""
    return state_dir, f"-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
