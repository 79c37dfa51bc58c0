"""A program that is interrupted (Ctrl-C) while a thread of kaiwo starts: no thread is left."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from kaiwo.state.claim_files import OwnClaim
from kaiwo.workers import threads as module
from kaiwo.workers.threads import WorkerThreads
from tests.support.waiting import wait_until

PATIENCE_S = 30
#: The interpreter raises in a function that is entered, or after a call of native code.
MOMENTS = ("call", "c_return")
#: Python's own thread is lost here, with its lock, or it is never started but listed.
LOST = {"Condition.__enter__", "Thread.start __exit__"}


class Interrupt:
    """Raises KeyboardInterrupt in the main thread, at one moment of these files."""

    def __init__(self, moment: int, files: set[str]) -> None:
        self.is_over = False
        self._left = moment
        self._files = files

    def __enter__(self) -> None:
        sys.setprofile(self._see)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, called: object) -> None:
        code = frame.f_code
        if self.is_over or event not in MOMENTS or code.co_filename not in self._files:
            return
        name = code.co_qualname
        if {name, f"{name} {getattr(called, '__name__', '')}"} & LOST and event == "c_return":
            return
        self._left -= 1
        if not self._left:
            self.is_over = True
            raise KeyboardInterrupt


def moments(*modules: object) -> Iterator[Interrupt]:
    """An interrupt at each moment of these modules and of ``threading``, one after the other."""
    files = {str(each.__file__) for each in (*modules, threading)}  # type: ignore[attr-defined]
    moment, interrupt = 0, None
    while interrupt is None or interrupt.is_over:
        moment += 1
        yield (interrupt := Interrupt(moment, files))
    assert moment > 10


def test_no_thread_is_left_of_an_interrupted_program() -> None:
    for interrupt in moments(module):
        threads, go_on = WorkerThreads(4, "interrupted"), threading.Event()
        try:
            with interrupt:
                for _ in range(2):
                    threads.submit(go_on.wait, PATIENCE_S)
        except KeyboardInterrupt:
            assert interrupt.is_over
        else:
            assert not interrupt.is_over, "the interrupt is lost"
        threads.shutdown(wait=False, cancel_futures=True)
        go_on.set()
        threads.join(PATIENCE_S)
        wait_until(
            lambda: not any(each.name.startswith("interr") for each in threading.enumerate())
        )


def test_the_thread_of_a_claim_that_is_interrupted_ends(tmp_path: Path) -> None:
    for interrupt in moments():
        claim = OwnClaim("run", 1, {str(tmp_path / ".kaiwo" / "claims"): {"0"}}, 60.0)
        try:
            with interrupt:
                claim.post()
        except KeyboardInterrupt:
            assert interrupt.is_over
        else:
            assert not interrupt.is_over, "the interrupt is lost"
        claim.withdraw()
        wait_until(lambda: not any(each.name == "kaiwo-claim" for each in threading.enumerate()))
