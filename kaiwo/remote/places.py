"""Where calls go: an executor of somebody else, or the workers of a cluster."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Protocol

from kaiwo.remote.calls import Answer, Call
from kaiwo.remote.site import carry


class Places(Protocol):
    """Where calls go."""

    #: Whether a machine is given more calls than it may do at once.
    are_ahead: bool
    #: Whether it finds out by itself which workers hang.
    notices_silence: bool

    @property
    def machines(self) -> int:
        """How many machines share the work, each with as many requests as one has alone."""
        ...

    def submit(self, call: Call) -> Future[Answer]:
        """Have a call done.

        A future that fails, or that somebody cancels, is a worker that is gone. One whose error is
        a KaiwoError ends the run.

        Raises:
            RuntimeError: nothing more is done there.
        """
        ...


class OneExecutor:
    """Any executor: how many calls run at once, it decides itself.

    Args:
        executor: is not shut down.
    """

    machines = 1
    #: Calls wait in the executor.
    are_ahead = False
    notices_silence = False

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, call: Call) -> Future[Answer]:
        """See ``Places``."""
        return self._executor.submit(carry, call)
