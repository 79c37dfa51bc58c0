"""What a task lets arrive: ``allow`` and ``deny``, asked of every object before the first byte.

A glob without a slash is matched against the name of the file, one with a slash against the key
relative to its item; both by fsspec's rules, as ``glob`` is. ``allow`` must match the name that the
file gets. ``deny`` must not match that, nor the name that it has at its source. Listed, named and
locked objects are treated alike.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from kaiwo.errors import UnsafeNameError
from kaiwo.jobs import Want
from kaiwo.net.web_urls import is_web
from kaiwo.objects import Folder, Policy, RemoteObject
from kaiwo.planning.gather import Listing
from kaiwo.planning.offenders import Offenders
from kaiwo.workers.globs import glob_pattern


def require_allowed(listing: Listing) -> None:
    """Refuse objects that their tasks do not let arrive.

    Raises:
        UnsafeNameError: there are some; all of them are named.
    """
    offenders = Offenders()
    for want, objects in listing.found:
        policy = want.policy
        if not (policy.allow or policy.deny):
            continue
        for remote in objects:
            if fault := _fault(want, policy, remote):
                where = f" ({want.where})" if want.where else ""
                offenders.add(f"{want.opener.url(remote.key)}: {fault}{where}", want)
    if offenders:
        named = tuple(offenders)
        by_globs = "leave them out with globs, or " if offenders.are_selected else ""
        raise UnsafeNameError(
            "nothing was downloaded: the tasks' allow and deny refuse these objects; "
            f"{by_globs}change the policy:\n  " + "\n  ".join(named),
            named,
        )


def _fault(want: Want, policy: Policy, remote: RemoteObject) -> str | None:
    """Why an object may not arrive; None if it may."""
    key = remote.key
    if isinstance(want.selection, Folder):
        key = key.removeprefix(want.selection.prefix)
    if "?" in key and is_web(want.opener.url("")):
        key = key.partition("?")[0]
    try:
        name = posixpath.basename(want.placement.place(remote).target)
    except UnsafeNameError:
        return None  # it is refused for that
    if glob := next(_matching(policy.deny, key, name, posixpath.basename(key)), None):
        return f"deny has {glob!r}"
    if policy.allow and next(_matching(policy.allow, key, name), None) is None:
        return f"no glob of allow matches {name!r}"
    return None


def _matching(globs: Iterable[str], key: str, *names: str) -> Iterator[str]:
    """The globs that match."""
    for glob in globs:
        tried = (key,) if "/" in glob else names
        if any(map(_pattern(glob).match, tried)):
            yield glob


@lru_cache
def _pattern(glob: str) -> re.Pattern[str]:
    return glob_pattern(glob)
