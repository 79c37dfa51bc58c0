"""Errors of a file system that pass: the call is repeated.

A network file system answers ESTALE or EIO while its server restarts, EBUSY or EAGAIN while another
machine has the file, and EINTR when it was interrupted. A moment later the same call succeeds. The
pauses are short, since a worker waits in them. A volume that does not recover must not cost them
for each of 100,000 files: for a while after a call has failed for good, nothing is waited for.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TypeVar

ResultT = TypeVar("ResultT")
#: What passes.
PASSING = frozenset({errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE})
#: Between the calls.
PAUSES_S = (0.02, 0.1, 0.4, 1.0)
#: So long after a call has failed for good, others are repeated without a pause.
_HOPELESS_S = 10.0
logger = logging.getLogger(__name__)


class Patience:
    """When a call failed for good the last time, by the monotonic clock."""

    def __init__(self) -> None:
        self.lost_s = -_HOPELESS_S


patience = Patience()


def repeat(
    action: Callable[[], ResultT],
    passing: AbstractSet[int] = PASSING,
    pauses_s: tuple[float, ...] = PAUSES_S,
) -> ResultT:
    """What the action returns, repeated while it fails in a way that passes.

    Args:
        action: may be called several times.
        passing: the error numbers that pass.
        pauses_s: between the calls.

    Raises:
        OSError: of the last call.
    """
    for pause_s in pauses_s:
        try:
            return action()
        except OSError as error:
            if error.errno not in passing:
                raise
            logger.debug("%s: the call is repeated", error.strerror)
        if time.monotonic() - patience.lost_s >= _HOPELESS_S:
            time.sleep(pause_s)
    try:
        return action()
    except OSError as error:
        if error.errno in passing:
            patience.lost_s = time.monotonic()
        raise
