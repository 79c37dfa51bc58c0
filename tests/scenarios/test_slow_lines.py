"""Slow lines: a run that is killed again and again ends, and so does one of a busy server.

A short case of each here; ``make trials`` has all sources, and the sizes of real files.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.command import configured, tree
from tests.support.slow_lines import Line, Refusal
from tests.support.slow_places import SOURCES, behind, files_of, started
from tests.support.trials_length import LONG
from tests.support.waiting import wait_until

MB = 1_000_000
RATE, WHOLE = (128_000, MB) if LONG else (MB, 2 * MB)
#: A run is killed when this much was sent to it.
LIFE = (20 if LONG else 4) * MB
#: This much may be lost by a kill: what was sent since the last second, and is on its way.
LOST = 3 * MB if LONG else int(1.25 * WHOLE)
ONE, TWELVE = (1, 100 * MB), (12, 8 * MB)
SHORT_ONE, SHORT_TWELVE = (1, 6 * MB), (4, 1_500_000)
END_S = 600.0 if LONG else 90.0


Run = subprocess.Popen[bytes]


@contextlib.contextmanager
def running(tmp_path: Path, config: str) -> Iterator[Run]:
    """The command; it is killed at the end of the block."""
    with (
        (tmp_path / "errors").open("ab") as errors,
        started(config, tmp_path, stderr=errors) as run,
    ):
        try:
            yield run
        finally:
            run.kill()


def is_in_place(tmp_path: Path, files: Mapping[str, bytes]) -> bool:
    return tree(tmp_path / "out") == files


SHORT_KILLS = [
    ("s3", SHORT_ONE),
    ("gcs", SHORT_TWELVE),
    ("azure", SHORT_ONE),
    ("hub", SHORT_TWELVE),
    ("web", SHORT_ONE),
]
LONG_KILLS = [(source, shape) for source in SOURCES for shape in (ONE, TWELVE)]


@pytest.mark.parametrize(
    ("source", "shape"),
    LONG_KILLS if LONG else SHORT_KILLS,
    ids=lambda each: each if isinstance(each, str) else f"{each[0]} of {each[1] / MB:g} MB",
)
def test_a_download_that_is_killed_again_and_again_ends(
    source: str, shape: tuple[int, int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    files, line = files_of(*shape), Line(rate=RATE, whole=WHOLE)
    size, kills = sum(map(len, files.values())), 0
    with behind(source, files, line, request) as task:
        config = configured(tmp_path, task)
        code: int | None = None
        while code is None:
            before = line.sent
            with running(tmp_path, config) as run:
                wait_until(
                    lambda: run.poll() is not None or line.sent - before >= LIFE,  # noqa: B023
                    most_s=END_S,
                )
                code = run.poll()
            kills += code is None
    assert code == 0, (tmp_path / "errors").read_text()
    assert is_in_place(tmp_path, files)
    print(f"{source}: {kills} kills, {line.sent:,} bytes sent of {size:,}")
    assert kills >= size // LIFE
    assert line.sent <= size + kills * LOST
    if LONG:
        assert line.sent <= 1.15 * size


SHORT_REFUSALS: list[tuple[str, Refusal]] = [
    ("s3", 503),
    ("s3", "reset"),
    ("gcs", 429),
    ("azure", "reset"),
    ("hub", 429),
    ("web", 503),
]
REFUSALS: tuple[Refusal, ...] = (503, 429, "reset")


@pytest.mark.parametrize(
    ("source", "refusal"),
    [(source, each) for source in SOURCES for each in REFUSALS] if LONG else SHORT_REFUSALS,
)
def test_a_server_of_one_connection_sends_everything(
    source: str, refusal: Refusal, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    line = Line(rate=2 * MB, at_once=1, refusal=refusal)
    files = files_of(3, 16 * MB) | files_of(1, 2 * MB) if LONG else files_of(2, 4 * MB)
    with (
        behind(source, files, line, request) as task,
        running(tmp_path, configured(tmp_path, task)) as run,
    ):
        code = run.wait(END_S)
    assert code == 0, (tmp_path / "errors").read_text()
    assert is_in_place(tmp_path, files)
    print(f"{source}, {refusal}: {line.refused} refused")
    assert line.refused
