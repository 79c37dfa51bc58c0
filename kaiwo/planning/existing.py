"""What is at the targets already.

100,000 single questions to a network file system take minutes. So a folder is listed once, which
answers for all targets that are missing, and brings the status of the others along where the file
system can do that (NFS, FUSE). The first answers come in the thread that asks. If they take long,
the other questions are asked several at once; on a local disk threads would only be in each other's
way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import islice

from kaiwo.files.repeat import repeat
from kaiwo.planning.case_folding import folded
from kaiwo.planning.long_names import SHORT_NAME
from kaiwo.workers.threads import WorkerThreads

#: The status of a file, or why there is none to be had.
Answer = os.stat_result | OSError
_Question = tuple[str, Callable[[], os.stat_result]]
#: A folder of fewer targets is not listed.
_LEAST = 4
#: Questions that are asked in one go.
_CHUNK = 256
#: From this duration of an answer on, several are asked at once.
_SLOW_S = 0.0001
#: This number of answers is taken together to judge that.
_SAMPLE = 64
_THREADS = 16
#: A folder may hold far more than the targets: its listing ends after this many others, and this
#: many for each target.
_MOST_OTHERS, _MOST_OTHERS_EACH = 1000, 4


def statuses(targets: Iterable[str]) -> dict[str, Answer]:
    """The status of each target that is there, or the error; missing ones are left out.

    Args:
        targets: absolute paths.
    """
    names: dict[str, list[str]] = {}
    for target in targets:
        cut = target.rfind("/")
        names.setdefault(target[: cut + 1], []).append(target[cut + 1 :])
    questions = _Questions()
    try:
        for folder, wanted in names.items():
            questions.ask(folder, wanted)
        return questions.answers()
    finally:
        questions.close()


class _Questions:
    """Asks in this thread, or in several when answers take long."""

    def __init__(self) -> None:
        self._found: dict[str, Answer] = {}
        self._threads: WorkerThreads | None = None
        self._seconds, self._count = 0.0, 0
        self._coming: list[Future[dict[str, Answer]]] = []

    def ask(self, folder: str, names: list[str]) -> None:
        """Ask for these files of a folder; its path ends in ``/``."""
        if self._threads is not None and len(names) <= _CHUNK:
            self._coming.append(self._threads.submit(_ask_folder, folder, names))
            return
        start_s = time.monotonic()
        questions = _questions(folder, names)
        coming = iter(questions)
        while some := list(islice(coming, _CHUNK)):
            if self._threads is not None:
                self._coming.append(self._threads.submit(_ask, some))
                continue
            self._found.update(_ask(some))
            self._judge(time.monotonic() - start_s, len(some))
            start_s = time.monotonic()

    def _judge(self, seconds: float, count: int) -> None:
        self._seconds += seconds
        self._count += count
        if self._count < _SAMPLE:
            return
        if self._seconds > self._count * _SLOW_S:
            self._threads = WorkerThreads(_THREADS, "kaiwo-look")
        self._seconds, self._count = 0.0, 0

    def answers(self) -> dict[str, Answer]:
        """All of them."""
        for each in self._coming:
            self._found.update(each.result())
        return self._found

    def close(self) -> None:
        """Ask no more."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _ask_folder(folder: str, names: list[str]) -> dict[str, Answer]:
    return _ask(_questions(folder, names))


def _ask(questions: Iterable[_Question]) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    for path, question in questions:
        try:
            found[path] = question()
        except FileNotFoundError:
            continue
        except OSError:
            try:
                found[path] = repeat(question)
            except OSError as error:
                found[path] = error
    return found


def _questions(folder: str, names: list[str]) -> list[_Question]:
    """What to ask of these files: nothing where the folder's listing lacks them."""
    if len(names) < _LEAST:
        return [_single(folder, name) for name in names]
    # Bytes that are no UTF-8 have two spellings in Python, and one on the disk.
    wanted = {name if name.isascii() else os.fsdecode(os.fsencode(name)): name for name in names}
    found: list[_Question] = []
    others: list[str] = []
    most = _MOST_OTHERS + _MOST_OTHERS_EACH * len(names)
    try:
        with repeat(lambda: os.scandir(folder)) as entries:
            for entry in entries:
                if (name := wanted.pop(entry.name, None)) is not None:
                    found.append((folder + name, entry.stat))
                elif len(others) >= most:
                    break
                else:
                    others.append(entry.name)
            else:
                alike = {folded(name) for name in others}
                wanted = {
                    spelling: name
                    for spelling, name in wanted.items()
                    if len(name) > SHORT_NAME or folded(name) in alike
                }
    except FileNotFoundError:
        return []
    except OSError:  # it may not be read, or is no folder
        return [_single(folder, name) for name in names]
    return found + [_single(folder, name) for name in wanted.values()]


def _single(folder: str, name: str) -> _Question:
    return folder + name, partial(os.stat, folder + name)
