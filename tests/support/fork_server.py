"""Runs the command in forks of a process that has loaded its modules already.

Loading the SDKs takes a second of processor time, and loading kaiwo a quarter of one, which is more
than most runs take for the rest. The tests run the command two thousand times. Only modules are
loaded ahead that keep no variable of the environment and no file: kaiwo's own keep nothing at all
until they are called, and the Hub's library is loaded by each run. What the command does at its
start is tested with real starts (test_start_up, test_signals, test_loading).

``python -m <module>`` of a module that calls ``serve`` is such a process. It reads an order, a line
of JSON, from stdin, forks, and answers with two lines: the id of the process at once, the exit code
at its end.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.support import warm

#: What runs load, by either engine. Not the modules that ``python -m`` runs.
LIBRARIES = (
    "adlfs",
    "aiobotocore.session",
    "awscrt.checksums",
    "gcsfs",
    "obstore",
    "s3fs",
    "typer",
    *("kaiwo.cli.app", "kaiwo.cli.commands", "kaiwo.cli.process"),
    *("kaiwo.tasks.azure", "kaiwo.tasks.gcs", "kaiwo.tasks.hub", "kaiwo.tasks.s3"),
    *("kaiwo.tasks.url", "kaiwo.sources.azure", "kaiwo.sources.gcs", "kaiwo.sources.s3"),
    *("kaiwo.sources.obstore.source", "kaiwo.sources.web.source"),
    *("kaiwo.sources.s3_answers", "kaiwo.sources.s3_redirects"),
    *("kaiwo.tasks.s3_filesystem", "kaiwo.tasks.s3_services", "kaiwo.tasks.s3_settings"),
    *("typer._adapters", "encodings.ascii", "encodings.utf_8_sig"),
)
#: A library that reads variables when it is loaded.
NEVER_LOADED = "huggingface_hub.constants"
#: Variables with these beginnings are read when they are needed, not when a library is loaded.
READ_LATER = (
    *("AWS_", "AZURE_", "HF_", "KAIWO_"),
    *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
    *("all_proxy", "https_proxy", "http_proxy", "no_proxy"),
)
#: A run that takes longer hangs.
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Order:
    """A run of the command.

    Attributes:
        arguments: of the command.
        environment: all of it.
        home: the working directory.
        output: path of the file that gets its stdout.
        errors: path of the file that gets its stderr.
        module: the command: ``kaiwo`` or ``kaiwo.downloader``.
        umask: which rights new files lack.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    home: str
    output: str
    errors: str
    module: str = "kaiwo.downloader"
    umask: int = 0o022


def obey(order: Order, before: Callable[[], None] = lambda: None) -> None:
    """Run the order in this process; does not return.

    Args:
        order: what to run.
        before: is called right before the command.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    os.chdir(order.home)
    os.umask(order.umask)
    os.environ.clear()
    os.environ.update(order.environment)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output, errors = (os.open(path, flags, 0o600) for path in (order.output, order.errors))
    for source, descriptor in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(source, descriptor)
    sys.argv[1:] = order.arguments
    sys.path[0] = order.home
    before()
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def serve(loaded: Sequence[str], carry_out: Callable[[dict[str, Any]], None]) -> None:
    """Fork a process for each order, which carries it out and does not return."""
    # As the command does before it loads anything.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for name in loaded:
        importlib.import_module(name)
    warm.up()
    assert NEVER_LOADED not in sys.modules, "its variables are those of one run"
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, "a fork would lose them"
    gc.freeze()  # else the first collection of each fork copies everything
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                carry_out(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(99)
        print(pid, flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(code, flush=True)


@dataclass
class Running:
    """A run that has begun, with what ``subprocess.Popen`` has for one.

    Attributes:
        pid: of its process.
        returncode: negative: the number of the signal that killed it; None: it runs.
    """

    pid: int
    _answer: Callable[[float], bytes]
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code; None: it runs."""
        if self.returncode is None and (line := self._answer(0)):
            self.returncode = int(line)
        return self.returncode

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit code, once it has ended; a failure after this many seconds."""
        if self.returncode is None:
            line = self._answer(timeout_s)
            assert line, f"no end of the run after {timeout_s} s"
            self.returncode = int(line)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing, if it has ended. Another thread may wait for that meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            if self.returncode is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """As SIGKILL does."""
        self.send_signal(signal.SIGKILL)


@dataclass
class ForkServer:
    """A process that carries out orders, one after the other."""

    process: subprocess.Popen[bytes]

    def begin(self, order: Any) -> Running:
        """Start a run; it has to end before the next begins.

        Args:
            order: a dataclass, as ``carry_out`` of the process understands it.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(asdict(order))}\n".encode())
        self.process.stdin.flush()
        pid = self._line(PATIENCE_S)
        assert pid, f"no beginning of {order}"
        return Running(int(pid), self._line)

    def run(self, order: Any) -> int:
        """The exit code of a run; see ``begin`` and ``Running``."""
        return self.begin(order).wait()

    def _line(self, timeout_s: float) -> bytes:
        """The next line of its answers; nothing, if it takes longer."""
        assert self.process.stdout is not None
        ready = select.select([self.process.stdout], [], [], timeout_s)[0]
        return self.process.stdout.readline() if ready else b""


def started(environment: Mapping[str, str], module: str = __name__) -> ForkServer:
    """A process of a module that calls ``serve``. It ends with this one, whose pipe it reads."""
    command = [sys.executable, "-m", module]
    # Without a buffer: a line that has come in one would not be seen to be there.
    process = subprocess.Popen(
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(environment)
    )
    return ForkServer(process)


if __name__ == "__main__":
    serve(LIBRARIES, lambda told: obey(Order(**told)))
