"""The log lines that events are worth by themselves; what repeats is not said for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from kaiwo import redact, units
from kaiwo.errors import DeadlineError, KaiwoError, UnfinishedError, UnreachableError
from kaiwo.events import Ended, Event, Planned, Retried, Settled
from kaiwo.objects import Item

#: After so many lines about failures, the report is the place to look.
MOST_FAILURES = 100
#: So many retries are told in so many seconds; the others are counted.
MOST_RETRIES, RETRIES_S = 20, 10.0
#: While a service is waited for, all tasks ask for it, again and again.
UNREACHABLE_S = 5.0
MOST_REMEMBERED = 1_000
logger = logging.getLogger(__name__)


class EventLog:
    """Logs the plan, every failure and every retry; but not thousands of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = self._unfinished = 0
        self._why: KaiwoError | None = None
        self._told = self._untold = 0
        self._until_s = 0.0
        self._said_s: dict[str, float] = {}

    def add(self, event: Event) -> None:
        """Log it, if it is worth a line."""
        if self._untold and (isinstance(event, Ended) or self._clock() >= self._until_s):
            self._count_up()
        match event:
            case Settled(item) if item.error is None:
                logger.debug("%s: %s -> %s", item.status, item.source, item.target)
            case Planned(files, _, unchanged) if files or unchanged:
                logger.info("%s", _planned(event))
            case Retried(_, error, attempt, delay_s):
                self._retried(error, attempt, delay_s)
            case Settled(item) if isinstance(item.error, UnfinishedError):
                self._unfinished += 1
                self._why = item.error
            case Settled(item):
                self._failed(item)
            case Ended() if self._why is not None:
                level = logging.ERROR if isinstance(self._why, DeadlineError) else logging.WARNING
                missing = units.count(self._unfinished, "file")
                logger.log(level, "%s not in place: %s", missing, self._why.message)
            case _:
                pass

    def _retried(self, error: KaiwoError, attempt: int, delay_s: float) -> None:
        message = redact.text(error.message)
        now_s = self._clock()
        if isinstance(error, UnreachableError):
            if now_s < self._said_s.get(message, now_s):
                return
            if len(self._said_s) >= MOST_REMEMBERED:
                self._said_s.clear()
            self._said_s[message] = now_s + UNREACHABLE_S
        if now_s >= self._until_s:
            self._until_s, self._told = now_s + RETRIES_S, 0
        level = logging.WARNING
        self._told += 1
        if self._told > MOST_RETRIES:
            self._untold += 1
            level = logging.DEBUG
        logger.log(level, "%s; attempt %d in %.1f s", message, attempt + 1, delay_s)

    def _count_up(self) -> None:
        """Say how many retries were not told."""
        more = units.count(self._untold, "more retry", "more retries")
        logger.warning("and %s in the last %.0f s", more, RETRIES_S)
        self._untold = 0

    def _failed(self, item: Item) -> None:
        self._failures += 1
        if self._failures <= MOST_FAILURES:
            logger.error("failed: %s", failure(item))
        elif self._failures == MOST_FAILURES + 1:
            logger.error("failed: more than %d; --report names them all", MOST_FAILURES)


def failure(item: Item) -> str:
    """Task, URL, target and reason of an object that failed."""
    message = redact.text(item.error.message) if item.error else ""
    if not item.target:
        return message  # a want that was never placed; the message names it
    if item.source not in message:
        message = f"{item.source}: {message}"
    return f"{message} (task {item.task}, target {item.target})"


def _planned(plan: Planned) -> str:
    """What a plan amounts to."""
    files, size = plan.files - plan.present, plan.bytes - plan.present_bytes
    parts = [f"{units.count(files, 'file')}, {units.size(size)} to fetch"]
    if plan.present:
        present = units.size(plan.present_bytes)
        parts.append(f"{units.count(plan.present, 'file')}, {present} to check")
    return "; ".join([*parts, f"{units.count(plan.unchanged, 'file')} in place already"])
