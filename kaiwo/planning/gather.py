"""List all wants at once, on the run's executor.

A want whose listing fails, or that matches nothing, does not stop the others: it becomes a failed
item of the report.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.retry import LIMIT_DELAY_S, RetryPolicy, used_up
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.errors import (
    ContainerMissingError,
    DeadlineError,
    KaiwoError,
    LimitError,
    NotFoundError,
    UnsafeNameError,
)
from kaiwo.events import Retried, Ticked
from kaiwo.files.placement import At, Under
from kaiwo.jobs import ListJob, Want
from kaiwo.net.web_urls import is_web
from kaiwo.objects import Answer, Folder, Item, Named, RemoteObject
from kaiwo.planning.listing_limits import ListingLimits
from kaiwo.protocols import Sink
from kaiwo.workers import list_objects
from kaiwo.workers.globs import not_meant
from kaiwo.workers.list_objects import Found

logger = logging.getLogger(__name__)


class Listing(Struct, frozen=True):
    """What the listings of all wants found, in the order of the wants.

    Attributes:
        found: objects. A want is as it was asked for, so perhaps what was meant otherwise.
        failed: wants that were not listed.
        answers: what stores answered about doubtful objects.
    """

    found: tuple[tuple[Want, tuple[RemoteObject, ...]], ...]
    failed: tuple[tuple[Want, KaiwoError], ...]
    answers: tuple[tuple[Want, tuple[Answer, ...]], ...] = ()

    @property
    def missed(self) -> tuple[Item, ...]:
        """The wants that failed, as items of the report."""
        return tuple(
            Item(want.task, described(want), _target(want), "failed", 0, error=error)
            for want, error in self.failed
        )


def _target(want: Want) -> str:
    """The path of a file that is asked for by its name; empty where only a listing tells it."""
    match want.selection, want.placement:
        case Named((key,)), At() | Under():
            with contextlib.suppress(UnsafeNameError):
                return want.placement.place(RemoteObject(key, 0)).target
    return ""


def gather(
    wants: Sequence[Want],
    executor: Executor,
    workers: int | None,
    policy: RetryPolicy,
    health: ServiceHealth,
    sink: Sink,
    until_s: float | None = None,
    most: int | None = None,
    known: Callable[[Want], tuple[Answer, ...]] = lambda _: (),
) -> Listing:
    """List all wants at once; failures that may pass are retried.

    See ``listing_limits`` for how many that is.

    Args:
        wants: of all tasks.
        executor: where the listings run.
        workers: how many run at once at each service; None: as many as the service bears.
        policy: which failures are retried, and when.
        health: learns which services have answered.
        sink: gets an event for each retry.
        until_s: the run's deadline, by the monotonic clock.
        most: how many may run at once at all services together.
        known: answers that earlier runs got about objects of a want.
    """
    asked = _Asked(wants)
    results: dict[int, Found] = {}
    limits = ListingLimits((want.opener.service for want in wants), workers)

    def take(job: ListJob, found: Found) -> None:
        if (other := asked.instead(job, found)) is None:
            results[job.number] = found
        else:
            dispatcher.repeat(ListJob(job.number, other, known(other)), 0.0)

    def handle(job: ListJob, found: Found) -> None:
        if isinstance(found.error, LimitError) and dispatcher.narrow():
            dispatcher.repeat(job, LIMIT_DELAY_S)
            return
        service = job.want.opener.service
        if found.error is None:
            health.answered(service)
            limits.succeeded(service)
            take(job, found)
            return
        others = sum(each.want.opener.service == service for each in dispatcher.in_flight())
        health.failed(service, found.error)
        has_answered = health.has_answered(service)
        again = limits.refused(job, found.error, has_answered=has_answered, others=others)
        if again is None:
            again = policy.again(job, found.error, has_answered=has_answered)
        if again is None:
            take(job, replace(found, error=used_up(found.error, job.tries)))
            return
        waits_s = policy.waits_s(found.error, has_answered=has_answered)
        sink.emit(Retried(job.want.where, found.error, again[0].tries.count, again[1], waits_s))
        dispatcher.repeat(*again)

    def begin(job: ListJob) -> tuple[()]:
        limits.start(job)
        return ()

    dispatcher: Dispatcher[ListJob, Found] = Dispatcher(
        executor,
        limits.limits,
        list_objects.run,
        begin,
        idle=lambda: sink.emit(Ticked()),
        lane=lambda job: job.want.opener.service,
        most=most,
    )
    for service in limits.limits:
        # One queue for each, so that no service waits for another.
        dispatcher.feed(_jobs(wants, service, known), service)
    dispatcher.run(handle, until_s)
    late = Found(error=DeadlineError("the deadline passed before it was listed"))
    results = {number: results.get(number, late) for number in range(len(wants))}
    return _judged(asked, results)


def _jobs(
    wants: Sequence[Want], service: str, known: Callable[[Want], tuple[Answer, ...]]
) -> Iterator[ListJob]:
    """The jobs that ask one service, lazily."""
    for number, want in enumerate(wants):
        if want.opener.service == service:
            yield ListJob(number, want, known(want))


class _Asked:
    """What was last asked for, where a want says what is meant if there is no such object."""

    def __init__(self, wants: Sequence[Want]) -> None:
        self.wants = list(wants)
        #: Of the wants that were not there, the error that tells most.
        self.missing: dict[int, KaiwoError] = {}

    def instead(self, job: ListJob, found: Found) -> Want | None:
        """What to ask for now, if anything."""
        error = found.error or NotFoundError(f"{described(job.want)}: nothing matches")
        if found.objects or not isinstance(error, NotFoundError):
            return None
        no_container = isinstance(error, ContainerMissingError)
        if not no_container:
            error = type(error)(f"{error.message}{_glob_hint(job.want)}", *error.args[1:])
        first = self.missing.setdefault(job.number, error)
        if isinstance(first, ContainerMissingError) and not no_container:
            self.missing[job.number] = error
        other = job.want.otherwise
        while other is not None and no_container and other.opener == job.want.opener:
            other = other.otherwise
        if other is not None:
            self.wants[job.number] = other
        return other


def _judged(asked: _Asked, results: Mapping[int, Found]) -> Listing:
    """Divide the wants into found and failed; nothing found is a failure unless it is allowed."""
    found: list[tuple[Want, tuple[RemoteObject, ...]]] = []
    failed: list[tuple[Want, KaiwoError]] = []
    for number, want in enumerate(asked.wants):
        result = results[number]
        error = result.error
        absent = isinstance(error, NotFoundError) and not isinstance(error, ContainerMissingError)
        if error is not None and absent and want.allow_empty:
            # ``allow_empty`` does not allow a bucket that is missing: it is probably misspelled.
            logger.warning("%s: %s", want.where, error.message)
            error = None
        elif isinstance(error, NotFoundError) or (
            error is None and not result.objects and not want.allow_empty
        ):
            error = asked.missing[number]
        if error is None:
            found.append((want, result.objects))
        else:
            message = f"{want.where}: {error.message}" if want.where else error.message
            failed.append((want, type(error)(message, *error.args[1:])))
    answers = [(want, results[number].answers) for number, want in enumerate(asked.wants)]
    return Listing(tuple(found), tuple(failed), tuple(answers))


def _glob_hint(want: Want) -> str:
    """For people who meant a glob where a name is taken as it is; empty where it contains none."""
    match want.selection:
        case Named((name, *_)):
            # The query of a web address is a part of the key.
            path = name.partition("?")[0] if is_web(want.opener.url("")) else name
            found = not_meant(path, is_glob=False)
        case Folder(prefix, globs):
            named = [not_meant(prefix, is_glob=False), *(not_meant(g, is_glob=True) for g in globs)]
            found = next(filter(None, named), None)
        case _:
            found = None
    return f"; {found[0]}: {found[1]}" if found else ""


def described(want: Want) -> str:
    """The want as a URL, for people."""
    match want.selection:
        case Folder(prefix, globs, exclude):
            found = want.opener.url(prefix) + (" or ".join(globs) if globs else "**/*")
            return f"{found} without {' and '.join(exclude)}" if exclude else found
        case Named(keys):
            return want.opener.url(", ".join(keys))
