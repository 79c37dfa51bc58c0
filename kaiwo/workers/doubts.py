"""Listed objects that may not be what their listing states: the store is asked, once for all runs.

Some entries of a listing only stand for a folder, and some listings state size 0 for everything.
Each source knows which of its entries are doubtful. What an answer means is the same for all:

    a marker                            left out
    ``a`` is missing, ``a/`` is found   left out: the listing means ``a/``
    neither is found                    an object, which is read then; left out where keys lie
                                        below it, since no file can be there
    another size                        an object of that size
    anything else                       an object, as it was listed

An answer holds for as long as the listing states the same bytes with the same date. The date
counts beside the etag, because all empty objects may have one etag.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from kaiwo.errors import DiskError, KaiwoError, NotFoundError, PlaceholderError, TransientError
from kaiwo.objects import Answer, RemoteObject, same_bytes
from kaiwo.workers.threads import WorkerThreads

#: Objects of a source that are looked up at once. Most listings leave no doubt; where all files of
#: a folder are empty, eight at once took longer than the listing.
LOOKED_UP_AT_ONCE = 32
#: At most this many placeholders are named in a log line.
_MOST_NAMED = 5
#: Looks an object up by its key. Raises NotFoundError; PlaceholderError if it only marks a folder.
LookUp = Callable[[str], RemoteObject]
logger = logging.getLogger(__name__)


class Questions:
    """The questions of one source; keeps the answers of a listing of which a question failed.

    After a failure, half as many are asked at once: some services serve few requests at a time.
    """

    def __init__(self) -> None:
        self._kept: dict[RemoteObject, Answer] = {}
        self._lock = threading.Lock()
        self._limit = LOOKED_UP_AT_ONCE
        self._under_way = 0

    def ask(
        self,
        doubtful: Sequence[RemoteObject],
        found: Sequence[RemoteObject],
        look_up: LookUp,
        look_up_folder: LookUp | None = None,
    ) -> tuple[Answer, ...]:
        """What the store answers about these objects.

        Args:
            doubtful: as they were listed.
            found: all objects of the listing.
            look_up: see ``LookUp``.
            look_up_folder: the same for keys that end in a slash; None if the listing never states
                such a key without its slash.

        Raises:
            TransientError: a question failed; the next call asks the questions that are left.
        """
        if not doubtful:
            return ()
        ask = partial(self._ask, found, look_up, look_up_folder)
        left = [remote for remote in doubtful if remote not in self._kept]
        try:
            with self._room(len(left)) as most, WorkerThreads(most, "kaiwo-doubts") as pool:
                for _ in pool.map(ask, left):
                    pass
        except TransientError as error:
            with self._lock:
                self._limit = max(self._limit // 2, 1)
            reached = len(found) + len(self._kept)
            raise type(error)(error.message, error.retry_after_s, reached) from None
        return tuple(self._kept.pop(remote) for remote in doubtful)

    @contextlib.contextmanager
    def _room(self, wanted: int) -> Iterator[int]:
        """How many a listing may ask at once; several listings share the limit."""
        with self._lock:
            most = max(min(wanted, self._limit - self._under_way), 1)
            self._under_way += most
        try:
            yield most
        finally:
            with self._lock:
                self._under_way -= most

    def _ask(
        self,
        found: Sequence[RemoteObject],
        look_up: LookUp,
        look_up_folder: LookUp | None,
        remote: RemoteObject,
    ) -> None:
        try:
            answer = _sized_answer(remote, look_up(remote.key))
        except PlaceholderError:
            answer = Answer(remote, is_placeholder=True)
        except NotFoundError:
            answer = _missing_answer(remote, found, look_up_folder)
        except (TransientError, DiskError):
            raise
        except KaiwoError as refused:
            # It may be listed and read, but not looked up.
            logger.debug("%s", refused.message)
            answer = Answer(remote)
        self._kept[remote] = answer


def _sized_answer(remote: RemoteObject, now: RemoteObject) -> Answer:
    """It is an object."""
    if now.size == remote.size:
        return Answer(remote)
    known = _sized(remote, now.size)
    if same_bytes(replace(known, checksum=None), now):
        return Answer(known)
    return Answer(now, is_lasting=False)  # perhaps it was replaced meanwhile


def _missing_answer(
    remote: RemoteObject, found: Sequence[RemoteObject], look_up_folder: LookUp | None
) -> Answer:
    """Nothing has that key."""
    folder = f"{remote.key}/"
    if look_up_folder is not None:
        try:
            look_up_folder(folder)
        except (TransientError, DiskError):
            raise
        except KaiwoError as error:
            logger.debug("%s", error.message)
        else:
            return Answer(remote, is_placeholder=True)
    is_folder = any(each.key.startswith(folder) for each in found)
    return Answer(remote, is_placeholder=is_folder, is_lasting=False)


def _sized(remote: RemoteObject, size: int) -> RemoteObject:
    """The object with its real size."""
    checksum = remote.checksum
    if checksum is not None and checksum.algorithm != "md5":
        checksum = None  # that of an upload in parts was made with the size
    return replace(remote, size=size, checksum=checksum)


def known_answer(known: Mapping[str, Answer], remote: RemoteObject) -> Answer | None:
    """What an earlier run was answered about an object, if the listing states the same of it now.

    Args:
        known: by their keys.
        remote: as it is listed.
    """
    answer = known.get(remote.key)
    if answer is None:
        return None
    before = answer.object
    if remote.size not in (0, before.size):
        return None
    dates = {before.modified_ns, remote.modified_ns} - {None}
    is_same = same_bytes(_sized(remote, before.size), before)
    return answer if is_same and len(dates) < 2 else None  # noqa: PLR2004 - two dates


def settled(
    found: Iterable[RemoteObject],
    answers: Iterable[Answer],
    named: str,
    known: Mapping[str, Answer] | None = None,
) -> Iterator[RemoteObject]:
    """The objects of a listing, with their real sizes, without what only stands for a folder.

    Args:
        found: as they were listed.
        answers: about these.
        named: what was listed, for the log.
        known: the answers of earlier runs, by their keys.
    """
    by_key = {answer.object.key: answer for answer in answers}
    left_out = []
    for remote in found:
        answer = by_key.get(remote.key)
        if answer is not None and answer.is_placeholder:
            left_out.append(remote.key)
        elif answer is not None:
            yield answer.object
        elif (before := known_answer(known or {}, remote)) is None:
            yield remote
        elif before.is_placeholder:
            left_out.append(remote.key)
        else:
            size = before.object.size
            yield remote if size == remote.size else _sized(remote, size)
    if left_out:
        names = ", ".join(f"{key}/" for key in left_out[:_MOST_NAMED])
        more = ", ..." if len(left_out) > _MOST_NAMED else ""
        logger.info("%s: left out, as placeholders of folders: %s%s", named, names, more)
