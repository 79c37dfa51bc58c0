"""Asks stores for what pins each object that was listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor

from kaiwo.engine.questions import ask_all
from kaiwo.engine.retry import RetryPolicy
from kaiwo.errors import DeadlineError, KaiwoError
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

    def take(job: PinJob, found: pins.Pinned) -> None:
        results[job.number] = found.object or job.object

    def fail(job: PinJob, error: KaiwoError) -> None:
        if not lenient:
            raise error
        results[job.number] = job.object

    is_complete = ask_all(
        _jobs(listing.found, hashed),
        pins.run,
        executor,
        policy,
        at_once=workers or AT_ONCE,
        until_s=until_s,
        take=take,
        fail=fail,
    )
    if not is_complete:
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
