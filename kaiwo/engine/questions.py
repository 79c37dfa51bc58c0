"""Questions to stores before a plan, many at once; failures that may pass are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.retry import LIMIT_DELAY_S, RetryPolicy, used_up
from kaiwo.errors import KaiwoError, LimitError
from kaiwo.jobs import BundleJob, PinJob


class _Answer(Protocol):
    """What a question comes to: at least its error, or None."""

    @property
    def error(self) -> KaiwoError | None: ...


JobT = TypeVar("JobT", PinJob, BundleJob)
AnswerT = TypeVar("AnswerT", bound=_Answer)


def ask_all(
    jobs: Iterable[JobT],
    ask: Callable[[JobT], AnswerT],
    executor: Executor,
    policy: RetryPolicy,
    *,
    at_once: int,
    until_s: float | None,
    take: Callable[[JobT, AnswerT], None],
    fail: Callable[[JobT, KaiwoError], None],
) -> bool:
    """Returns True when all have an answer, False at the deadline.

    Args:
        jobs: the questions.
        ask: a module-level function that asks one.
        executor: where they are asked.
        policy: which failures are retried, and when.
        at_once: how many are asked at once.
        until_s: the run's deadline, by the monotonic clock.
        take: is given each answer.
        fail: is given each question that failed for good; may end all by an exception.
    """

    def handle(job: JobT, answer: AnswerT) -> None:
        error = answer.error
        if error is None:
            take(job, answer)
        elif isinstance(error, LimitError) and dispatcher.narrow():
            dispatcher.repeat(job, LIMIT_DELAY_S)
        elif (again := policy.again(job, error)) is not None:
            dispatcher.repeat(*again)
        else:
            fail(job, used_up(error, job.tries))

    dispatcher: Dispatcher[JobT, AnswerT] = Dispatcher(executor, at_once, ask)
    dispatcher.feed(jobs)
    return dispatcher.run(handle, until_s)
