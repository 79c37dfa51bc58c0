"""One tool against one fault: a process with a separate server and separate folders."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.buckets import Bucket
from tests.bench.load import Action
from tests.bench.nginx import Endpoint
from tests.bench.orders import Order, Tool, environment
from tests.faults.catalogue import Case, objects
from tests.servers.faulty_s3 import BUCKET, faulty_s3, replacement

#: Who has not ended by then hangs.
LIMIT_S = 60.0
OK = "ok"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool made of a fault.

    Attributes:
        verdict: ``ok``, or what went wrong and with which exit code.
        lied: it says that all went well, and it did not.
        seconds: from its start to its end.
        gets: requests for objects' bytes.
    """

    verdict: str
    lied: bool
    seconds: float
    gets: int


def run(tool: Tool, case: Case, work: Path) -> Outcome:
    """Fetch all objects with a tool that is installed.

    Args:
        tool: which.
        case: the fault.
        work: an empty folder.
    """
    stored = objects()
    with faulty_s3(stored, case.plan, page_size=1000) as server:
        bucket = Bucket(BUCKET, len(stored), 0)
        order = Order(Action.COPY, (bucket,), Endpoint(server.url), work / "target", work)
        order.folder(bucket).mkdir(parents=True)
        assert tool.program is not None
        (command,) = tool.commands(tool.program, order)
        command = [*command, *case.options.get(tool.name.partition("-")[0], ())]
        start_s = time.monotonic()
        code = exit_code(command, environment(tool, order), work)
        seconds = time.monotonic() - start_s
    found = _compared(order.folder(bucket), {get.key for get in server.counts.replaced})
    verdict = _verdict(code, found)
    return Outcome(verdict, code == 0 and verdict != OK, seconds, server.counts.gets)


def exit_code(command: list[str], env: Mapping[str, str], work: Path) -> int | None:
    """Of a command, which runs in a folder; None if it had to be ended after `LIMIT_S`."""
    with (work / "output").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that it ends with all that it started
        )
        try:
            return process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _compared(folder: Path, replaced: set[str]) -> Counter[str]:
    """How many files are missing, wrong, or a mixture of two versions."""
    found = Counter[str]()
    for key, data in objects().items():
        path = folder / key
        if not path.is_file():
            found["missing"] += 1
        elif key in replaced:
            found["mixed"] += path.read_bytes() not in (data, replacement(data))
        else:
            found["wrong"] += path.read_bytes() != data
    return +found


def _verdict(code: int | None, found: Counter[str]) -> str:
    if code is None:
        return "hangs"
    if code == 0 and not found:
        return OK
    return ", ".join([*(f"{count} {what}" for what, count in found.items()), f"exit {code}"])
