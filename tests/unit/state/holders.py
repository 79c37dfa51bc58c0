"""Runs in other processes that hold targets, and how a test waits for them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiwo.state.claims import Timing

#: How long a test waits for what has to happen before it fails.
PATIENCE_S = 30.0


QUICK = Timing(touch_s=0.05, silence_s=0.8, look_s=(0.01, 0.05))


#: One that believes silent claims for longer than any test lasts.
PATIENT = Timing(silence_s=3600.0)


SMALL, MIDDLE, LARGE = "0" * 8, "8" * 8, "f" * 8


#: Takes the targets that its first argument names, says so, and holds them until its input ends.
#: When it has to wait for that, it says so once.
HOLDER = """\
import json, signal, sys
from kaiwo.state.claims import Claim, Timing
# A shell that runs tests in the background has its children ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
told = json.loads(sys.argv[1])
wanted = {folder: set(own) for folder, own in told["targets"].items()}
words = iter(["waits"])
def idle():
    for word in words:
        print(word, flush=True)
print("began", flush=True)
with Claim(told["run"], idle, timing=Timing(**told["timing"])) as claim:
    claim.take(wanted)
    print("taken", flush=True)
    sys.stdin.read()
"""


@dataclass
class Child:
    """A run in a process of its own."""

    process: subprocess.Popen[str]

    def says(self) -> str:
        """Its next line, or nothing when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it without a chance to tidy up; it stays a zombie."""
        self.process.kill()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)


Holding = Callable[..., Child]


@contextlib.contextmanager
def in_thread(work: Callable[[], bool]) -> Iterator[Future[bool]]:
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(work)


def eventually(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline_s, "it never came to be"
        pause.wait(0.01)


def files(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*")) if Path(folder).exists() else []


def posted(folder: str, run: str = MIDDLE, **fields: Any) -> Path:
    """A claim of another machine's run on target ``a``, as it would lie there."""
    document = {
        "kaiwo-claim": 1,
        "host": "elsewhere",
        "boot": "another",
        "namespace": "pid:[1]",
        "pid": 1,
        "start": 1,
        "since": "2025-03-01T12:00:00Z",
        "targets": ["a"],
    }
    path = Path(folder, f"{run}-1-0.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document | fields))
    return path


def seconds(work: Callable[[], object]) -> float:
    start_s = time.monotonic()
    work()
    return time.monotonic() - start_s


UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
