"""The log lines of single events: plan, failures, retries. Repeated ones are limited in number."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from kaiwo import redact, units
from kaiwo.errors import (
    DeadlineError,
    KaiwoError,
    NoAnswerError,
    NotAllowedYetError,
    UnfinishedError,
)
from kaiwo.events import Ended, Event, Planned, Retried, Settled
from kaiwo.objects import Item

#: Log at most this many failures; the report has all of them.
MOST_FAILURES = 100
#: Log at most this many retries in this time; the others are counted.
MOST_RETRIES, RETRIES_S = 20, 10.0
#: Log the same unreachable service at most once in this time: every task retries it.
UNREACHABLE_S = 5.0
#: Remember at most this many messages about unreachable services.
MOST_REMEMBERED = 1_000
logger = logging.getLogger(__name__)


class EventLog:
    """Logs the plan, failures and retries, but not thousands of them.

    Objects that the run did not get to (fail-fast, the deadline, a signal) are one line at its end.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = self._unfinished = 0
        self._unfinished_error: KaiwoError | None = None
        self._logged = self._not_logged = 0
        self._period_end_s = 0.0
        self._quiet_until_s: dict[str, float] = {}

    def add(self, event: Event) -> None:
        """Log an event that deserves a line."""
        if self._not_logged and (isinstance(event, Ended) or self._clock() >= self._period_end_s):
            self._log_rest()
        match event:
            case Settled(item) if item.error is None:
                if logger.isEnabledFor(logging.DEBUG):
                    source, target = map(units.printable, (item.source, item.target))
                    logger.debug("%s: %s -> %s", item.status, source, target)
            case Planned(files, _, unchanged) if files or unchanged:
                logger.info("%s", _planned(event))
            case Retried(_, error, attempt, delay_s, waits_s):
                self._retried(error, attempt, delay_s, waits_s)
            case Settled(item) if isinstance(item.error, UnfinishedError):
                self._unfinished += 1
                self._unfinished_error = item.error
            case Settled(item):
                self._failed(item)
            case Ended() if self._unfinished_error is not None:
                self._log_unfinished(self._unfinished_error)
            case _:
                pass

    def _log_unfinished(self, error: KaiwoError) -> None:
        level = logging.ERROR if isinstance(error, DeadlineError) else logging.WARNING
        missing = units.count(self._unfinished, "file")
        logger.log(level, "%s not in place: %s", missing, error.message)

    def _retried(self, error: KaiwoError, attempt: int, delay_s: float, waits_s: float) -> None:
        message = redact.text(error.message)
        now_s = self._clock()
        if isinstance(error, NoAnswerError | NotAllowedYetError):
            if now_s < self._quiet_until_s.get(message, now_s):
                return
            if len(self._quiet_until_s) >= MOST_REMEMBERED:
                self._quiet_until_s.clear()
            self._quiet_until_s[message] = now_s + UNREACHABLE_S
        if now_s >= self._period_end_s:
            self._period_end_s, self._logged = now_s + RETRIES_S, 0
        level = logging.WARNING
        self._logged += 1
        if self._logged > MOST_RETRIES:
            self._not_logged += 1
            level = logging.DEBUG
        lasting = ""
        if waits_s:
            lasting = f"; kaiwo keeps trying for {units.duration(waits_s)} (--startup-wait)"
        logger.log(level, "%s; attempt %d in %.1f s%s", message, attempt + 1, delay_s, lasting)

    def _log_rest(self) -> None:
        """Log how many retries had no line of their own."""
        more = units.count(self._not_logged, "more retry", "more retries")
        logger.warning("and %s in the last %.0f s", more, RETRIES_S)
        self._not_logged = 0

    def _failed(self, item: Item) -> None:
        self._failures += 1
        if self._failures <= MOST_FAILURES:
            logger.error("failed: %s", failure(item))
        elif self._failures == MOST_FAILURES + 1:
            logger.error("failed: more than %d objects; --report lists all of them", MOST_FAILURES)


def failure(item: Item) -> str:
    """Reason, URL, task and target of an object that failed, in one line."""
    return units.printable(_failure(item))


def _failure(item: Item) -> str:
    message = redact.text(item.error.message) if item.error else ""
    if not item.target:
        return message  # its task could not be planned; the message names what was wanted
    if item.source not in message:
        message = f"{item.source}: {message}"
    return f"{message} (task {item.task}, target {item.target})"


def _planned(plan: Planned) -> str:
    """How much there is to fetch, to check, and in place."""
    files = units.count(plan.files - plan.present, "file")
    size = units.size(plan.bytes - plan.present_bytes - plan.kept_bytes)
    kept = f" ({units.size(plan.kept_bytes)} left by earlier runs)" if plan.kept_bytes else ""
    only_checks = 0 < plan.files == plan.present
    parts = [] if only_checks else [f"{files}, {size} to fetch{kept}"]
    if plan.present:
        present = units.size(plan.present_bytes)
        parts.append(f"{units.count(plan.present, 'file')}, {present} to check")
    if plan.unchanged or not only_checks:
        parts.append(f"{units.count(plan.unchanged, 'file')} in place already")
    return "; ".join(parts)
