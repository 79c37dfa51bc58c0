"""Calls that a worker of Dask does in threads of kaiwo.

A worker does as many tasks at once as its pool has threads, often one, and looks at each thread of
a task 100 times a second. With 8 jobs that read, this was a third of all that Python did there; and
Python before 3.12 may hang for ever in it when threads begin and end meanwhile (gh-106883). So
a task is a coroutine: it leaves the pool's room to others, and waits for a thread that Dask does
not know.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from distributed import get_worker
from distributed.worker_state_machine import SecedeEvent

from kaiwo.workers.threads import WorkerThreads

T = TypeVar("T")

#: More calls than that wait for others.
MOST = 1024


class _Threads:
    """The threads of this process."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A forked child does not have the threads of its parent."""
        self.executor = WorkerThreads(MOST, "kaiwo-task")


def submit(executor: Executor, call: Callable[..., T], *args: Any) -> Future[T]:
    """Have a worker do a call.

    Args:
        executor: Dask's, of that worker.
        call: never raises: Dask logs the arguments of what does.
        args: of the call.
    """
    key = f"{call.__name__}-{uuid.uuid4()}"
    options: dict[str, Any] = {"key": key}
    done: Future[Any] = executor.submit(_done, key, call, *args, **options)
    return done


async def _done(key: str, call: Callable[..., T], *args: Any) -> T:
    """What a worker's task is: the call is done when this has ended."""
    worker = get_worker()
    leaves = SecedeEvent(key=key, compute_duration=0.0, stimulus_id=f"secede-{key}")
    worker.loop.add_callback(worker.handle_stimulus, leaves)
    return await asyncio.wrap_future(_threads.executor.submit(call, *args))


_threads = _Threads()
os.register_at_fork(after_in_child=_threads.renew)
