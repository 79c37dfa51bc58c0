"""Plans that no shard follows any more, and what their shards have left."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kaiwo.shards.results import Results
from kaiwo.state import shared_parts, small_files
from kaiwo.state.folder import plan_paths

#: A plan of another job stays so long after its end: a shard of it may start once more.
KEPT_S = 24 * 3600.0


def conclude(results: Results, token: str, roots: Iterable[str]) -> None:
    """All shards of a plan have ended well, and the whole was checked: say so.

    Args:
        results: of the plan.
        token: of the plan.
        roots: of the targets.

    Raises:
        DiskError: the file system refused.
    """
    results.write(shared_parts.ALL, 0)
    for root in roots:  # parts of objects that a run which was no shard has brought
        shared_parts.remove_temporaries(root, token)


def retire(path: str, root: str, roots: Iterable[str]) -> None:
    """Make room for a new plan, and remove old ones of other jobs that are finished.

    Args:
        path: of the new plan; what is there is no plan to follow.
        root: that has the plan.
        roots: of the targets.
    """
    for each in {*plan_paths(root), path}:
        token = shared_parts.token_of(each)
        ended_s = shared_parts.finished_s(root, token) if token else None
        if each == path or (ended_s is not None and time.time() - ended_s > KEPT_S):
            for of_targets in {root, *roots} if token else ():
                shared_parts.remove_all(of_targets, token)
            small_files.remove(each)
