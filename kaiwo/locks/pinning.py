"""Asks stores for what pins each object that was listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor

from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.retry import LIMIT_DELAY_S, RetryPolicy, used_up
from kaiwo.errors import DeadlineError, LimitError
from kaiwo.jobs import PinJob, Want
from kaiwo.objects import RemoteObject
from kaiwo.planning.gather import Listing
from kaiwo.workers import pins

#: Objects that are asked about at once.
AT_ONCE = 32


def pinned(
    listing: Listing,
    executor: Executor,
    policy: RetryPolicy,
    *,
    workers: int | None = None,
    until_s: float | None = None,
    hashed: Callable[[RemoteObject], bool],
    lenient: bool = False,
) -> list[tuple[Want, tuple[RemoteObject, ...]]]:
    """The objects that were listed, each with its version and its best checksum.

    Args:
        listing: see there.
        executor: where the questions are asked.
        policy: which failures are retried, and when.
        workers: how many at once.
        until_s: the run's deadline, by the monotonic clock.
        hashed: whether to read an object whose sha256 is not stated.
        lenient: an object that cannot be asked about stays as it was listed.

    Raises:
        KaiwoError: that of the first object that cannot be pinned.
    """
    results: dict[int, RemoteObject] = {}

    def handle(job: PinJob, found: pins.Pinned) -> None:
        if found.error is None and found.object is not None:
            results[job.number] = found.object
            return
        error = found.error
        if error is None:
            raise TypeError(job)
        if isinstance(error, LimitError) and dispatcher.narrow():
            dispatcher.repeat(job, LIMIT_DELAY_S)
        elif (again := policy.again(job, error)) is not None:
            dispatcher.repeat(*again)
        elif lenient:
            results[job.number] = job.object
        else:
            raise used_up(error, job.tries)

    dispatcher: Dispatcher[PinJob, pins.Pinned] = Dispatcher(executor, workers or AT_ONCE, pins.run)
    dispatcher.feed(_jobs(listing.found, hashed))
    if not dispatcher.run(handle, until_s):
        raise DeadlineError("the deadline passed before all objects were asked about")
    numbers = iter(range(len(results)))
    return [
        (want, tuple(results[next(numbers)] for _ in objects)) for want, objects in listing.found
    ]


def _jobs(
    found: Iterable[tuple[Want, tuple[RemoteObject, ...]]],
    hashed: Callable[[RemoteObject], bool],
) -> Iterator[PinJob]:
    number = 0
    for want, objects in found:
        for remote in objects:
            yield PinJob(number, want, remote, hashed(remote))
            number += 1
