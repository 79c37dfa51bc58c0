"""The worker function for listings: the objects that one want asks for."""

from __future__ import annotations

from msgspec import Struct

from kaiwo.errors import BugError, KaiwoError
from kaiwo.jobs import ListJob
from kaiwo.net.failures import limit_error
from kaiwo.objects import Folder, Named, RemoteObject
from kaiwo.protocols import Source
from kaiwo.workers.globs import matcher
from kaiwo.workers.recent_dates import without_recent_date
from kaiwo.workers.source_cache import open_source, with_fresh_secrets


class Found(Struct, frozen=True):
    """What a listing found, or why it failed."""

    objects: tuple[RemoteObject, ...] = ()
    error: KaiwoError | None = None


def run(job: ListJob) -> Found:
    """List the objects of a want, or ask for those that it names."""
    opener, selection = job.want.opener, job.want.selection
    try:
        return with_fresh_secrets(opener, lambda: _found(open_source(opener), selection))
    except KaiwoError as error:
        return Found(error=error)
    except Exception as error:
        text = f"opening the source failed: unforeseen {type(error).__name__}"
        found = limit_error(error, f"opening {opener.url('')}") or BugError(text)
        return Found(error=found)


def _found(source: Source, selection: Folder | Named) -> Found:
    try:
        if isinstance(selection, Named):
            stated = (source.stat(key) for key in selection.keys)
            return Found(tuple(without_recent_date(remote) for remote in stated))
        wanted, prefix = matcher(selection), selection.prefix
        cut = len(prefix)
        return Found(
            tuple(
                without_recent_date(remote)
                for remote in source.list(prefix)
                # Some services list more than they were asked for.
                if remote.key.startswith(prefix) and wanted(remote.key[cut:])
            )
        )
    except KaiwoError as error:
        return Found(error=error)
    except Exception as error:
        return Found(error=_classified(error, source))


def _classified(error: Exception, source: Source) -> KaiwoError:
    try:
        return source.classify(error)
    except Exception as another:
        name, failure = type(error).__name__, type(another).__name__
        return BugError(f"{name} could not be classified: unforeseen {failure}")
