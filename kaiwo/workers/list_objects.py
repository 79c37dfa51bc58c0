"""The worker function for listings: the objects that one want asks for."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kaiwo.errors import BugError, KaiwoError, TransientError
from kaiwo.jobs import ListJob
from kaiwo.net.failures import limit_error
from kaiwo.net.web_urls import shown_key
from kaiwo.objects import Answer, Folder, Named, RemoteObject
from kaiwo.protocols import Source
from kaiwo.workers import doubts
from kaiwo.workers.globs import matcher
from kaiwo.workers.recent_dates import without_recent_date
from kaiwo.workers.source_cache import open_source, with_fresh_secrets


class Found(Struct, frozen=True):
    """What a listing found, or why it failed.

    Attributes:
        objects: the files that are wanted.
        answers: what the store answered about objects, for later runs.
        error: why it failed.
    """

    objects: tuple[RemoteObject, ...] = ()
    answers: tuple[Answer, ...] = ()
    error: KaiwoError | None = None


def run(job: ListJob) -> Found:
    """List the objects of a want, or ask for those that it names."""
    opener = job.want.opener
    try:
        return with_fresh_secrets(opener, lambda: _found(open_source(opener), job))
    except KaiwoError as error:
        return Found(error=error)
    except Exception as error:
        text = f"opening the source failed: unforeseen {type(error).__name__}"
        found = limit_error(error, f"opening {opener.url('')}") or BugError(text)
        return Found(error=found)


def _found(source: Source, job: ListJob) -> Found:
    selection = job.want.selection
    try:
        if isinstance(selection, Named):
            stated = (source.stat(key) for key in selection.keys)
            return Found(tuple(without_recent_date(remote) for remote in stated))
        return _list(source, job, selection)
    except KaiwoError as error:
        return Found(error=error)
    except Exception as error:
        return Found(error=_classified(error, source))


def _list(source: Source, job: ListJob, selection: Folder) -> Found:
    matches, prefix = matcher(selection), selection.prefix
    known = {answer.object.key: answer for answer in job.known}

    def is_wanted(remote: RemoteObject) -> bool:
        # Some services list more than they were asked for.
        return remote.key.startswith(prefix) and matches(remote.key[len(prefix) :])

    def asks(remote: RemoteObject) -> bool:
        return is_wanted(remote) and doubts.known_answer(known, remote) is None

    found, answers = source.list_asking(prefix, asks)
    url = job.want.opener.url(prefix)
    files = _once(doubts.settled(filter(is_wanted, found), answers, url, known), url)
    return Found(tuple(map(without_recent_date, files)), answers)


def _once(listed: Iterable[RemoteObject], url: str) -> Iterable[RemoteObject]:
    """Each object once: the pages of some services overlap.

    Raises:
        TransientError: a key is listed as two objects. One of them is not what is stated.
    """
    found: dict[str, RemoteObject] = {}
    for remote in listed:
        if found.setdefault(remote.key, remote) != remote:
            key = shown_key(url, remote.key)
            raise TransientError(f"listing {url}: {key!r} is listed twice, as two objects")
    return found.values()


def _classified(error: Exception, source: Source) -> KaiwoError:
    try:
        return source.classify(error)
    except Exception as another:
        name, failure = type(error).__name__, type(another).__name__
        return BugError(f"{name} could not be classified: unforeseen {failure}")
