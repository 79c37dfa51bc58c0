"""The worker function for listings: the objects that one want asks for."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kaiwo.errors import KaiwoError, TransientError
from kaiwo.jobs import ListJob
from kaiwo.net.web_urls import shown_key
from kaiwo.objects import Answer, Folder, Named, RemoteObject
from kaiwo.protocols import Source
from kaiwo.workers import doubts
from kaiwo.workers.globs import matcher
from kaiwo.workers.questions import answered
from kaiwo.workers.recent_dates import without_recent_date


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
    return answered(
        job.want.opener, lambda source: _found(source, job), lambda error: Found(error=error)
    )


def _found(source: Source, job: ListJob) -> Found:
    selection = job.want.selection
    if isinstance(selection, Named):
        stated = (source.stat(key) for key in selection.keys)
        return Found(tuple(without_recent_date(remote) for remote in stated))
    return _list(source, job, selection)


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
