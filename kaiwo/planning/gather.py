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
from kaiwo.planning.unreached import Unreached
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
        unreached: wants that were left for later, because their services cannot be reached yet.
        locked: these are the objects of a lock, and no others may take their places.
    """

    found: tuple[tuple[Want, tuple[RemoteObject, ...]], ...] = ()
    failed: tuple[tuple[Want, KaiwoError], ...] = ()
    answers: tuple[tuple[Want, tuple[Answer, ...]], ...] = ()
    unreached: tuple[Want, ...] = ()
    locked: bool = False

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
    patience_s: float | None = None,
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
        patience_s: what can be fetched waits this long for services that cannot be reached; None:
            until it is known whether they can.
    """
    return _Gathering(wants, workers, policy, health, sink, known, patience_s).run(
        executor, until_s, most
    )


class _Gathering:
    """The listings of some wants under way; arguments as those of ``gather``."""

    def __init__(
        self,
        wants: Sequence[Want],
        workers: int | None,
        policy: RetryPolicy,
        health: ServiceHealth,
        sink: Sink,
        known: Callable[[Want], tuple[Answer, ...]],
        patience_s: float | None,
    ) -> None:
        self._wants = wants
        self._policy, self._health, self._sink, self._known = policy, health, sink, known
        self._asked = _Asked(wants)
        self._unreached = Unreached(patience_s)
        self._results: dict[int, Found] = {}
        self._limits = ListingLimits((want.opener.service for want in wants), workers)

    def run(self, executor: Executor, until_s: float | None, most: int | None) -> Listing:
        """What they found."""
        limits = self._limits.limits
        dispatcher = self._dispatcher = Dispatcher[ListJob, Found](
            executor,
            limits,
            list_objects.run,
            self._begin,
            idle=self._idle,
            lane=lambda job: job.want.opener.service,
            most=most,
        )
        for service in limits:
            # One queue for each, so that no service waits for another.
            dispatcher.feed(_jobs(self._wants, service, self._known), service)
        dispatcher.run(self._handle, until_s)
        missing = [number for number in range(len(self._wants)) if number not in self._results]
        if self._unreached.are_left:
            left = tuple(self._asked.wants[number] for number in missing)
            return replace(_judged(self._asked, self._results), unreached=left)
        late = Found(error=DeadlineError("the deadline passed before it was listed"))
        return _judged(self._asked, self._results | dict.fromkeys(missing, late))

    def _begin(self, job: ListJob) -> tuple[()]:
        self._limits.start(job)
        return ()

    def _idle(self) -> None:
        self._sink.emit(Ticked())
        results = self._results
        missing = (want for number, want in enumerate(self._wants) if number not in results)
        if self._unreached.are_to_be_left(want.opener.service for want in missing):
            self._dispatcher.abandon()

    def _handle(self, job: ListJob, found: Found) -> None:
        if isinstance(found.error, LimitError) and self._dispatcher.narrow():
            self._dispatcher.repeat(job, LIMIT_DELAY_S)
            return
        service = job.want.opener.service
        if found.error is None:
            self._health.answered(service)
            self._health.allowed(job.want.opener)
            self._unreached.answered(service, found)
            self._limits.succeeded(service)
            self._take(job, found)
            return
        self._health.failed(service, found.error)
        again = self._again(job, found.error)
        if again is None:
            self._take(job, replace(found, error=used_up(found.error, job.tries)))
        elif not self._unreached.are_left:
            self._dispatcher.repeat(*again)

    def _take(self, job: ListJob, found: Found) -> None:
        """Note what a listing ended with, or ask for what is meant otherwise."""
        if (other := self._asked.instead(job, found)) is None:
            self._results[job.number] = found
        else:
            self._dispatcher.repeat(ListJob(job.number, other, self._known(other)), 0.0)

    def _again(self, job: ListJob, error: KaiwoError) -> tuple[ListJob, float] | None:
        """The listing for its next attempt and the seconds until then; None: it has failed."""
        service = job.want.opener.service
        in_flight = self._dispatcher.in_flight()
        others = sum(each.want.opener.service == service for each in in_flight)
        has_answered = self._health.has_answered(service)
        is_new = self._health.is_new(job.want.opener)
        again = self._limits.refused(job, error, has_answered=has_answered, others=others)
        if again is None:
            again = self._policy.again(job, error, has_answered=has_answered, is_new=is_new)
        if again is not None:
            waits_s = self._policy.waits_s(error, has_answered=has_answered, is_new=is_new)
            if waits_s and not has_answered:
                self._unreached.failed(service)
            self._sink.emit(Retried(job.want.where, error, again[0].tries.count, again[1], waits_s))
        return again


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
    for number, result in sorted(results.items()):
        want, error = asked.wants[number], result.error
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
    answers = [(asked.wants[number], result.answers) for number, result in sorted(results.items())]
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
