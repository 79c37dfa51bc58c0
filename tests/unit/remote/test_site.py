"""What a worker process has of several runs at once."""

from __future__ import annotations

import logging
from pathlib import Path

from kaiwo.jobs import Batch
from kaiwo.remote.calls import Answer, Call, packed
from kaiwo.remote.meeting import Meeting
from kaiwo.remote.site import carry
from kaiwo.workers.reading import AT_ONCE
from tests.support.waiting import wait_until

NOTHING = packed(Batch(()), AT_ONCE)


def test_the_log_is_as_it_was_when_the_last_run_is_over(tmp_path: Path) -> None:
    logger = logging.getLogger("kaiwo")
    before, count = logger.propagate, len(logger.handlers)
    meetings = [Meeting(run, [f"{tmp_path}"]) for run in ("ab", "cd")]
    for run, meeting in zip(("ab", "cd"), meetings, strict=True):
        answer: Answer = carry(Call(run, meeting.folders, NOTHING))
        assert (answer.outcomes, answer.fault, answer.unseen) == ((), "", "")
    assert len(logger.handlers) == count + 2
    first, second = meetings
    first.close()
    wait_until(lambda: len(logger.handlers) == count + 1)
    assert not logger.propagate
    second.close()
    wait_until(lambda: len(logger.handlers) == count and logger.propagate == before)
