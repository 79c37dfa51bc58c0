"""Plans that no shard follows any more, and what their shards have left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from kaiwo.errors import ConfigError
from kaiwo.shards import plan_file
from kaiwo.shards.plan_file import SharedPlan
from kaiwo.shards.results import Results
from kaiwo.state import shared_parts, small_files
from kaiwo.state.folder import plan_paths

#: A plan of another job that is finished stays so long: a shard of it may start once more.
KEPT_S = 24 * 3600.0


def is_finished(found: SharedPlan, root: str) -> bool:
    """Whether all shards of a plan have ended well, and the whole was checked."""
    return Results(root, found.digest, found.token, found.shards).are_complete


def retire(path: str, root: str, roots: Iterable[str]) -> None:
    """Make room for a new plan, and remove old ones of other jobs that are finished.

    Args:
        path: of the new plan; what is there is no plan to follow.
        root: that has the plan.
        roots: of the targets.
    """
    for each in {*plan_paths(root), path}:
        try:
            is_old = time.time() - os.stat(each).st_mtime > KEPT_S
            found = plan_file.read(each) if is_old or each == path else None
        except (OSError, ConfigError):
            continue
        if each == path or (found is not None and is_finished(found, root)):
            if found is not None:
                remove(found, root, roots)
            small_files.remove(each)


def remove(found: SharedPlan, root: str, roots: Iterable[str]) -> None:
    """Remove what the shards of a plan have left."""
    for each in {root, *roots}:
        shared_parts.remove_all(each, found.token)
