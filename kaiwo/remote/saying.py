"""What a worker process says to a run besides the outcomes of jobs: bytes, and log records."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from kaiwo.jobs import Progress
from kaiwo.remote.meeting import Arrived, Letter, Logged
from kaiwo.workers.progress import Channel, listen

#: Says something to the run, soon.
Post = Callable[[Letter], None]


@contextlib.contextmanager
def reported(channel: Channel, post: Post) -> Iterator[None]:
    """Inside the block, what workers of this process report goes to the run."""

    def take(progress: Progress) -> None:
        transfer, mark = progress.transfer, progress.mark
        told = None if mark is None else (mark.end, mark.crc.algorithm, mark.crc.value)
        post(
            Arrived(
                transfer.index, transfer.round, progress.start, progress.bytes, progress.kept, told
            )
        )

    with listen(channel, take):
        yield


@contextlib.contextmanager
def logged(post: Post) -> Iterator[None]:
    """Inside the block, warnings of kaiwo go to the run, and not to the log of this process."""
    logger = logging.getLogger("kaiwo")
    others = [each.was for each in logger.handlers if isinstance(each, _ToRun)]
    handler = _ToRun(post, was=others[0] if others else logger.propagate)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        if not any(isinstance(each, _ToRun) for each in logger.handlers):
            logger.propagate = handler.was


class _ToRun(logging.Handler):
    """Says to a run what kaiwo logs in this process.

    Args:
        post: says it.
        was: whether kaiwo's records went on to other handlers before there was any site.
    """

    def __init__(self, post: Post, *, was: bool) -> None:
        super().__init__(logging.WARNING)
        self.was = was
        self._post = post

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        self._post(Logged(record.levelno, record.name, record.getMessage()))
