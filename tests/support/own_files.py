"""Kaiwo's own files on a disk: which they are, and what journals say of temporary files.

What they look like is part of kaiwo's promises (``kaiwo clean`` names them, and newer versions read
them), so it is told here once more.
"""

from __future__ import annotations

import json
import posixpath

from tests.support.snapshots import File, Snapshot

STATE = ".kaiwo"


def is_own(name: str) -> bool:
    """Whether this is part of kaiwo's state, or a temporary file."""
    return STATE in name.split("/") or is_temporary(name)


def is_temporary(name: str) -> bool:
    """Whether this is a temporary file."""
    return posixpath.basename(name).startswith(f"{STATE}-")


def is_of_runs(name: str) -> bool:
    """Whether this is state that a run makes for itself, and takes away at its end."""
    _, _, below = name.partition(f"/{STATE}/")
    return below.startswith(("claims", "journal-"))


def unfinished(disk: Snapshot) -> dict[str, dict[str, str]]:
    """Journal -> the temporary files that it tells a later run of -> the target of each.

    What is not on the disk is left out.
    """
    found: dict[str, dict[str, str]] = {}
    for name, there in disk.items():
        root, _, below = name.partition(f"/{STATE}/")
        if not below.startswith("journal-") or not isinstance(there, File):
            continue
        begun: dict[int, tuple[str, str]] = {}
        for line in there.data.splitlines():
            try:
                told = json.loads(line)
            except ValueError:  # torn by a kill
                continue
            if "begin" in told:
                begun[told["begin"]] = f"{root}/{told['temporary']}", f"{root}/{told['target']}"
            begun.pop(told.get("end"), None)
        found[name] = {part: target for part, target in begun.values() if part in disk}
    return found
