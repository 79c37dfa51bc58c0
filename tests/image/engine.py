"""podman or docker, as a command: build an image, run containers of it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NAMES = ("podman", "docker")
FLAGS = "KAIWO_ENGINE_FLAGS"
"""The environment variable with more global flags of the engine: a runtime, a storage driver."""

_RUN_S = 300.0


class CannotTest(Exception):  # noqa: N818 - reads as what happened
    """What the machine lacks, or what failed before there was anything to check."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine that answers: its name, and the command with its global flags."""

    name: str
    command: tuple[str, ...]

    @classmethod
    def find(cls, wanted: str | None = None) -> Engine:
        """The engine of this name, or else the first of them, that is installed and works."""
        flags = shlex.split(os.environ.get(FLAGS, ""))
        reasons = []
        for name in [wanted] if wanted else NAMES:
            if shutil.which(name) is None:
                reasons.append(f"{name}: not installed")
                continue
            engine = cls(name, (name, *flags))
            done = engine.try_call("info")
            if done.code == 0:
                return engine
            reasons.append(f"{name}: {done.stderr.strip() or done.stdout.strip()}")
        raise CannotTest("no container engine works here\n  " + "\n  ".join(reasons))

    def try_call(self, *args: str, timeout_s: float = _RUN_S) -> Ended:
        """Run a command of the engine."""
        done = subprocess.run(
            [*self.command, *args],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def call(self, *args: str, timeout_s: float = _RUN_S) -> str:
        """The output of a command of the engine that succeeds."""
        done = self.try_call(*args, timeout_s=timeout_s)
        if done.code != 0:
            command = " ".join([self.name, *args[:1]])
            raise CannotTest(f"{command} ended with {done.code}:\n{done.stderr[-4_000:].strip()}")
        return done.stdout

    def build(self, context: str, tag: str, base: str, options: Sequence[str]) -> None:
        """Build the image; the engine's output goes where ours goes."""
        args = ["build", f"--tag={tag}", f"--build-arg=BASE={base}", *options, context]
        if subprocess.run([*self.command, *args], check=False).returncode != 0:
            raise CannotTest("the image could not be built; the reason is above")

    def inspect(self, image: str) -> dict[str, Any]:
        """What the engine knows about an image."""
        (known,) = json.loads(self.call("image", "inspect", image))
        described: dict[str, Any] = known
        return described
