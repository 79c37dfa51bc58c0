"""Run commands one after the other, and take their time, CPU and memory.

This file is also the program that does so, in a separate process: the kernel counts the memory
of the process that forked as the child's too, so a small one has to fork, and not the benchmark.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_DEADLINE_S = 900.0


class ToolFailed(Exception):  # noqa: N818 - reads as what happened
    """A command did not end well; the message is the last of what it wrote to stderr."""


def run(
    commands: Sequence[Sequence[str]],
    env: Mapping[str, str],
    output: str,
    errors: str,
    pod: Path | None = None,
) -> dict[str, float]:
    """Run the commands in a small separate process.

    Args:
        commands: each with its arguments.
        env: their whole environment.
        output: the file for what they print.
        errors: the file for their stderr.
        pod: the file that takes the ids of a control group's processes, if they belong into one.

    Returns:
        wall_s, cpu_s (user and system, of all processes) and peak_mib (of the largest process).

    Raises:
        ToolFailed: a command ended with another code than 0, or not within the time.
    """
    order = json.dumps([commands, output, errors, str(pod or os.devnull)])
    # isolated, and without site-packages: as small as Python is
    command = [sys.executable, "-I", "-S", __file__, order]
    process = subprocess.Popen(
        command, env=dict(env), stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    try:
        said, _ = process.communicate(timeout=_DEADLINE_S)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ToolFailed(f"not ready after {_DEADLINE_S:g} s") from None
        raise
    if process.returncode:
        raise ToolFailed(f"code {process.returncode}: {_last_words(errors)}")
    result: dict[str, float] = json.loads(said)
    return result


def _last_words(errors: str) -> str:
    """The last line that a program wrote, without the frames that Python draws around it."""
    with open(errors, encoding="utf-8", errors="replace") as file:
        lines = [line.strip(" ^~|") for line in file.read().splitlines()]
    return next((line for line in reversed(lines) if line.strip()), "(nothing on stderr)")


def _measure(commands: Sequence[Sequence[str]], output: str, errors: str, group: str) -> int:
    """Run them, print what they took; returns the first code that is not 0."""
    with open(group, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))  # the commands inherit it
    cpu_s = peak_kib = 0.0
    with open(output, "wb") as out, open(errors, "wb") as err:
        started = time.perf_counter()
        for command in commands:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                return process.returncode if process.returncode > 0 else 128 - process.returncode
            cpu_s += usage.ru_utime + usage.ru_stime
            peak_kib = max(peak_kib, usage.ru_maxrss)
        wall_s = time.perf_counter() - started
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": peak_kib / 1024}))
    return 0


if __name__ == "__main__":
    sys.exit(_measure(*json.loads(sys.argv[1])))
