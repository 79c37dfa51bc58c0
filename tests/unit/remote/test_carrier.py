"""The executor that sends jobs to other processes: how many requests it says there are."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from kaiwo.jobs import Batch
from kaiwo.remote.calls import Answer, Call
from kaiwo.remote.carrier import Carrier
from kaiwo.remote.meeting import Busy, LetterBox, Logged, Meeting, read_beat
from kaiwo.state.sharing import root_of_state
from kaiwo.workers.bandwidth import new_bandwidth
from kaiwo.workers.jobs import run as run_job
from kaiwo.workers.reading import Reading
from tests.support.waiting import wait_until


class Nowhere:
    """Takes calls, and never does them."""

    machines = 1
    are_ahead = False
    notices_silence = False

    def submit(self, _call: Call) -> Future[Answer]:
        """See ``Places``."""
        return Future()


def test_what_a_worker_had_that_is_gone_takes_no_share_of_the_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meeting = Meeting("ab", [f"{tmp_path}"])
    folder, how = meeting.folders[0], Reading(bandwidth=new_bandwidth(1000))

    def told() -> int:
        beat = read_beat(folder, root_of_state(folder))
        return -1 if beat is None else beat.requests

    with ThreadPoolExecutor(1) as pool:
        carrier = Carrier("ab", Nowhere(), meeting, pool)
        with carrier.opened():
            LetterBox(folder, "gone").post([Busy(64), Logged(30, "kaiwo", "last words")])
            wait_until(lambda: "last words" in caplog.text)
            carrier.submit(run_job, Batch(()), how)
            carrier.submit(run_job, Batch(()), how)
            wait_until(lambda: told() == 2, "others have no share", 5)
