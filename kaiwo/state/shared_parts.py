"""What runs that share temporary files have left of them: the files, and the journals of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from kaiwo.files.folders import resolved
from kaiwo.files.temporary_files import discard
from kaiwo.state.earlier_runs import entries_of
from kaiwo.state.folder import (
    paths_of_plan,
    plan_paths,
    plans_with_files,
    result_path,
    shared_journal_paths,
)
from kaiwo.state.json_lines import without_waiting
from kaiwo.state.small_files import remove

#: In place of the number of a shard: all of them have ended well, and the whole was checked.
ALL = "all"
_LAST_LINE = 200
_END = re.compile(rb'\{"end":"([0-9a-f]{16})[0-9a-f]{48}"\}\n\Z')


def temporaries_of(root: str, token: str) -> Iterator[str]:
    """The temporary files in a root that the shards of a plan share, as far as they are there.

    Args:
        root: absolute path.
        token: of the plan.
    """
    entries = entries_of(shared_journal_paths(root, None, token), root, token)
    yield from (each for each in {entry.temporary for entry in entries} if os.path.lexists(each))


def left(root: str) -> Iterator[tuple[str, bool]]:
    """What shards have left in a root, and whether a further run of them needs it.

    Args:
        root: absolute path.
    """
    plans = {token_of(path): path for path in plan_paths(root)}
    for token in sorted({*plans, *plans_with_files(root)}):
        is_needed = finished_s(root, token) is None
        yield from ((each, is_needed) for each in temporaries_of(root, token))
        yield from ((each, is_needed) for each in paths_of_plan(root, None, token))
        if token in plans:
            yield plans[token], is_needed


def token_of(path: str) -> str:
    """The token of a plan, from the last line of its file; empty if that is no plan."""
    try:
        with open(path, "rb", opener=without_waiting) as stream:
            stream.seek(max(os.fstat(stream.fileno()).st_size - _LAST_LINE, 0))
            found = _END.search(stream.read())
    except OSError:
        return ""
    return "" if found is None else found[1].decode()


def finished_s(root: str, token: str) -> float | None:
    """When all shards of a plan had ended well and the whole was checked; None: they have not.

    Args:
        root: that has the plan.
        token: of the plan.
    """
    try:
        return os.stat(result_path(root, None, token, ALL)).st_mtime
    except OSError:
        return None


def remove_temporaries(root: str, token: str) -> None:
    """Remove the temporary files in a root that the shards of a plan share."""
    for temporary in temporaries_of(root, token):
        discard(temporary, resolved(root))


def remove_all(root: str, token: str) -> None:
    """Remove what the shards of a plan have left in a root, beside the plan itself."""
    remove_temporaries(root, token)
    for path in paths_of_plan(root, None, token):
        remove(path)
