"""What is shown while bytes arrive on a slow line is what the server has sent, in every display."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.command import configured
from tests.support.slow_lines import Line
from tests.support.slow_places import behind, files_of, started
from tests.support.trials_length import LONG

MB = 1_000_000
#: What is shown is looked at from then on, after the first byte, and until then.
FROM_S, UNTIL_S = 5.0, 45.0 if LONG else 13.0
#: What is shown came from workers and was drawn that long ago, at most.
LATE_S = 0.35
RATE_OVER_S = 10.0
KINDS = ("bar", "log", "json")
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
TEXT = re.compile(r"([\d.]+) (\w+) of [\d.]+ \w+, ([\d.]+) (\w+)/s")


@dataclass
class Shown:
    """What a display showed: when, which bytes, and which rate."""

    at_s: float
    size: float
    rate: float


@dataclass
class Display:
    """A run with one display, on a line of its own."""

    kind: str
    line: Line
    ours: int
    metrics: Path
    shown: list[Shown] = field(default_factory=list)
    pending: bytes = b""
    written: list[Shown] = field(default_factory=list)
    written_ns: int = 0

    def read(self) -> None:
        """Take what can be read now, which was shown now."""
        with contextlib.suppress(OSError):  # the other end of a terminal is closed
            self.pending += os.read(self.ours, 1 << 16)
        *lines, self.pending = re.split(rb"[\r\n]+", self.pending)
        for line in lines:
            self.take(line.decode(), time.time())

    def take(self, line: str, now_s: float) -> None:
        """Take one line of text, or of JSON."""
        if self.kind == "json":
            with contextlib.suppress(ValueError):
                document = json.loads(line)
                if document["event"] == "progress":
                    self.shown.append(Shown(now_s, document["bytes_done"], document["rate"]))
        elif match := TEXT.search(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)):
            size, rate = (float(match[at]) * UNITS[match[at + 1]] for at in (1, 3))
            self.shown.append(Shown(now_s, size, rate))

    def look(self) -> None:
        """Take the metrics file, if it is another one now."""
        with contextlib.suppress(FileNotFoundError):
            with self.metrics.open() as file:
                written_ns, text = os.fstat(file.fileno()).st_mtime_ns, file.read()
            if written_ns != self.written_ns:
                self.written_ns = written_ns
                found = dict(line.split() for line in text.splitlines() if line[:1] != "#")
                counts = (float(found[f"kaiwo_{name}"]) for name in ("bytes_done", "bytes_rate"))
                self.written.append(Shown(written_ns / 1e9, *counts))


def wrong(display: Display) -> Iterator[str]:
    """What is not true, from ``FROM_S`` on."""
    line, start_s = display.line, display.line.first_s
    assert start_s is not None
    planned_s = display.written[0].at_s
    for each in (*display.shown, *display.written):
        at_s = each.at_s
        if at_s < start_s + FROM_S or at_s > start_s + UNTIL_S:
            continue
        least, most = line.sent_by(at_s - LATE_S), line.sent_by(at_s)
        since_s = max(at_s - RATE_OVER_S, planned_s)
        rate = (most - line.sent_by(since_s)) / (at_s - since_s)
        when = f"after {at_s - start_s:.1f} s"
        if not 0.95 * least <= each.size <= 1.05 * most:
            yield f"{when}: {each.size:.0f} bytes, of {least} to {most}"
        if not 0.8 * rate <= each.rate <= 1.2 * rate:
            yield f"{when}: {each.rate:.0f} bytes a second, of {rate:.0f}"


def test_every_display_shows_what_the_server_has_sent(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    files = files_of(2, (50 if LONG else 10) * MB)
    with contextlib.ExitStack() as stack:
        lines = {kind: Line(rate=128_000, whole=(2 if LONG else 1) * MB) for kind in KINDS}
        tasks = {
            kind: stack.enter_context(behind("s3", files, line, request))
            for kind, line in lines.items()
        }
        displays = []
        for kind, task in tasks.items():
            home = tmp_path / kind
            home.mkdir()
            ours, theirs = pty.openpty() if kind == "bar" else os.pipe()
            stack.callback(os.close, ours)
            options = ("--progress", kind, "--metrics-file", str(home / "metrics"))
            run = started(configured(home, task), home, *options, stderr=theirs)
            os.close(theirs)
            stack.enter_context(run)
            stack.callback(run.kill)
            displays.append(Display(kind, lines[kind], ours, home / "metrics"))
        deadline_s = time.time() + UNTIL_S + 60
        while not all(
            (start := each.line.first_s) and time.time() > start + UNTIL_S for each in displays
        ):
            assert time.time() < deadline_s
            for ours in select.select([each.ours for each in displays], [], [], 0.02)[0]:
                next(each for each in displays if each.ours == ours).read()
            for each in displays:
                each.look()
    for display in displays:
        print(display.kind, len(display.shown), len(display.written))
        assert not list(wrong(display)), display.kind
        start_s = display.line.first_s or 0
        for shown in (display.shown, display.written):
            assert any(FROM_S <= each.at_s - start_s <= UNTIL_S for each in shown), display.kind
