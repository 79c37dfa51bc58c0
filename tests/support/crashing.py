"""Runs the command and kills it by SIGKILL at a chosen step.

A step is any change on the disk below one folder: a file opened for writing, a write, a rename, a
removal, a new folder, a link, a touch. Steps are numbered from 1, in the order in which the threads
reach them. The process kills itself right before the chosen step, or half-way in it: then a write
has written half of its bytes, or a new file is open and empty. Every other kind of step happens as
a whole or not at all.

The interpreter's audit hook (PEP 578) sees most steps. Writes raise no event, so two functions of
the os module are wrapped. kaiwo itself is not changed.

The command runs in forks of ``python -m tests.support.crashing``, see ``fork_server``.
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaiwo.jobs import RANGE
from tests.support import fork_server

#: What a run with S3 loads, by either engine.
LOADED = (
    *(
        "kaiwo.cli.app",
        "kaiwo.cli.commands",
        "kaiwo.sources.obstore.source",
        "kaiwo.sources.s3",
        "kaiwo.tasks.s3",
    ),
    *("aiobotocore.session", "awscrt.checksums", "obstore", "s3fs"),
)

#: Audit events that are steps: which of their arguments are paths, each with the argument that is
#: the descriptor of its folder, if there is one.
_PATHS: dict[str, tuple[tuple[int, int | None], ...]] = {
    "open": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.link": ((0, 2), (1, 3)),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
#: The write of the first piece of a range, or of a small object.
BEGINNING = "pwrite-range"
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class Death:
    """When a run dies.

    Attributes:
        step: the number of the step; 0: it lives.
        half: half-way in it, not before.
        number: of the signal. What can be caught only asks to end, and the step goes on.
        among: the steps that count; all, if it is empty.
    """

    step: int = 0
    half: bool = False
    number: int = signal.SIGKILL
    among: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A run of the command.

    Attributes:
        arguments: of the command.
        environment: all of it.
        home: the working directory; the steps are written to ``steps`` there, a line for each, what
            the run says to ``errors``, and its results to ``output``.
        folder: absolute; what changes elsewhere is no step.
        death: when it dies.
        module: the command: ``kaiwo`` or ``kaiwo.downloader``.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    home: str
    folder: str
    death: Death = Death()
    module: str = "kaiwo.downloader"


# --- the process that dies --------------------------------------------------------------------


@dataclass
class Crash:
    """Watches this process, and ends it."""

    folder: str
    log: int
    death: Death
    steps: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    doomed: threading.local = field(default_factory=threading.local)
    write: Callable[[int, bytes], int] = os.write

    def install(self) -> None:
        """Watch this process from now on."""
        sys.addaudithook(self._see)
        os.open = self._perhaps_the_last(os.open)
        builtins.open = self._perhaps_the_last(builtins.open)
        os.write = self._a_step("write", os.write)
        os.pwrite = self._a_step("pwrite", os.pwrite)

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in _PATHS or (event == "open" and not args[2] & _WRITING):
            return
        # The event of ``open`` does not say in which folder.
        folder = getattr(self.doomed, "folder", -1)
        paths = [
            path
            for at, within in _PATHS[event]
            if (path := self._inside(args[at], folder if within is None else args[within]))
        ]
        if not paths or not self._is_the_one(event, *paths):
            return
        if not (self.death.half and event == "open"):
            self.die()
        else:
            self.doomed.after_this = True

    def _inside(self, place: object, folder: int = -1) -> str | None:
        """The path of a path or a descriptor, relative to the folder; None: it is elsewhere.

        Args:
            place: the path or descriptor.
            folder: the descriptor of the folder that the path begins in; -1: none.
        """
        if isinstance(place, int):
            place = os.readlink(f"/proc/self/fd/{place}")
        if not isinstance(place, str | bytes | os.PathLike):
            return None
        above = os.getcwd() if folder == -1 else os.readlink(f"/proc/self/fd/{folder}")
        path = os.path.normpath(os.path.join(above, os.fsdecode(place)))
        inside = f"{path}/".startswith(f"{self.folder}/")
        return os.path.relpath(path, self.folder) if inside else None

    def _is_the_one(self, *words: str) -> bool:
        self.write(self.log, f"{' '.join(words)}\n".encode())
        if self.death.among not in ("", words[0]):
            return False
        return next(self.steps) == self.death.step

    def _perhaps_the_last(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; the process dies after it when it was the chosen step."""

        def last(*args: Any, **kwargs: Any) -> Any:
            folder = kwargs.get("dir_fd")
            self.doomed.folder = -1 if folder is None else folder
            try:
                return function(*args, **kwargs)
            finally:
                self.doomed.folder = -1
                if getattr(self.doomed, "after_this", False):
                    self.die()

        return last

    def _a_step(self, name: str, function: Callable[..., int]) -> Callable[..., int]:
        """The same function, which is a step."""

        def step(descriptor: int, data: Any, *offset: int) -> int:
            path = self._inside(descriptor)
            begins = name == "pwrite" and offset[0] % RANGE == 0
            if path is not None and self._is_the_one(BEGINNING if begins else name, path):
                if self.death.half:
                    function(descriptor, memoryview(data)[: len(data) // 2], *offset)
                self.die()
            return function(descriptor, data, *offset)

        return step

    def die(self) -> None:
        """Send this process the signal."""
        os.kill(os.getpid(), self.death.number)


def _carry_out(told: dict[str, Any]) -> None:
    """Run the order in this process; does not return."""
    order = Order(**{**told, "death": Death(**told["death"])})
    output, errors = (os.path.join(order.home, name) for name in ("output", "errors"))

    def watch() -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_APPEND
        Crash(order.folder, os.open("steps", flags, 0o600), order.death).install()

    fork_server.obey(
        fork_server.Order(
            order.arguments, order.environment, order.home, output, errors, order.module
        ),
        watch,
    )


# --- the process that gives orders ------------------------------------------------------------


@contextlib.contextmanager
def commands(environment: Mapping[str, str]) -> Iterator[Callable[[Order], int]]:
    """Yields a function that carries out orders, one after the other."""
    server = fork_server.started(environment, "tests.support.crashing")
    with server.process:
        try:
            yield server.run
        finally:
            server.process.kill()


if __name__ == "__main__":
    fork_server.serve(LOADED, _carry_out)
