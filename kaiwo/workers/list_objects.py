"""A worker function: the objects that one want asks for.

The store lists flat, and the glob is matched here, against the key relative to the folder, by
fsspec's own translation. ``fs.glob`` itself reads magic in the prefix, returns directories, and
differs from backend to backend.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

from msgspec import Struct

from kaiwo.errors import BugError, CredentialsError, KaiwoError
from kaiwo.jobs import ListJob
from kaiwo.objects import Folder, Named, RemoteObject
from kaiwo.protocols import Source
from kaiwo.workers.source_cache import renew, source_of

EVERYTHING = ("**/*", "**")


class Found(Struct, frozen=True):
    """What a listing brought: objects, or why there are none."""

    objects: tuple[RemoteObject, ...] = ()
    error: KaiwoError | None = None


def find(job: ListJob) -> Found:
    """List the objects of a want, or ask for those that it names."""
    opener, selection = job.want.opener, job.want.selection
    try:
        source = source_of(opener)
        found = _found(source, selection)
        if isinstance(found.error, CredentialsError) and renew(opener, source):
            found = _found(source_of(opener), selection)
    except KaiwoError as error:
        return Found(error=error)
    except Exception as error:
        return Found(
            error=BugError(f"opening the source failed: unforeseen {type(error).__name__}")
        )
    return found


def _found(source: Source, selection: Folder | Named) -> Found:
    try:
        if isinstance(selection, Named):
            return Found(tuple(source.stat(key) for key in selection.keys))
        wanted, prefix = matcher(selection), selection.prefix
        cut = len(prefix)
        return Found(
            tuple(
                remote
                for remote in source.list(prefix)
                # There are services that list what they were not asked for, too.
                if remote.key.startswith(prefix) and wanted(remote.key[cut:])
            )
        )
    except KaiwoError as error:
        return Found(error=error)
    except Exception as error:
        return Found(error=_classified(error, source))


def matcher(selection: Folder) -> Callable[[str], bool]:
    """Whether a key, relative to the folder, is selected."""
    compile_ = glob_pattern if selection.syntax == "path" else name_pattern
    everything = selection.syntax == "path" and any(g in EVERYTHING for g in selection.globs)
    wanted = [] if everything else [compile_(glob) for glob in selection.globs]
    unwanted = [compile_(glob) for glob in selection.without]

    def matches(relative: str) -> bool:
        if wanted and not any(pattern.match(relative) for pattern in wanted):
            return False
        return not any(pattern.match(relative) for pattern in unwanted)

    return matches


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Follow fsspec's documented rules: ``*`` stays in a segment, ``**`` is whole segments.

    Raises:
        ValueError: ``**`` is only a part of a segment.
    """
    # Here, not above: the engine shows no trace of fsspec until a glob has to be matched.
    from fsspec.utils import glob_translate  # noqa: PLC0415

    return re.compile(glob_translate(glob))


def name_pattern(glob: str) -> re.Pattern[str]:
    """Follow the Hub's rules: ``*`` matches ``/`` too, and ``folder/`` means all below it."""
    return re.compile(fnmatch.translate(glob + "*" if glob.endswith("/") else glob))


def _classified(error: Exception, source: Source) -> KaiwoError:
    try:
        return source.classify(error)
    except Exception as another:
        return BugError(f"{type(error).__name__} could not be told: {type(another).__name__}")
