"""A file of any fsspec filesystem is streamed in blocks, whose size follows the speed."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from kaiwo.errors import TransientError
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources.fsspec import FsspecSource

DATA = random.Random(6).randbytes(3_000_001)
PIECE = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> FsspecSource:
    (tmp_path / "a").write_bytes(DATA)
    return FsspecSource(LocalFileSystem, str(tmp_path), f"file://{tmp_path}/", NetworkSettings())


@pytest.mark.parametrize("limits", [(0, None), (0, len(DATA)), (1, 2_500_000), (7, 8)])
def test_the_blocks_of_a_range_are_its_bytes(
    source: FsspecSource, limits: tuple[int, int | None]
) -> None:
    pieces = [bytes(each) for each in source.stream(source.stat("a"), *limits, piece=PIECE)]
    start, end = limits
    assert b"".join(pieces) == DATA[start:end]
    sizes = [len(each) for each in pieces]
    assert sizes[0] <= 1 << 16
    assert max(sizes) <= PIECE


def test_a_file_that_has_become_shorter_is_refused(source: FsspecSource, tmp_path: Path) -> None:
    remote = source.stat("a")
    (tmp_path / "a").write_bytes(DATA[:1_000_000])
    for limits in ((), (0, len(DATA)), (5, 2_000_000)):
        came: list[int] = []
        pieces = source.stream(remote, *limits)
        with pytest.raises(TransientError, match=r"reading .*/a: the answer ended after"):
            came.extend(itertools.chain.from_iterable(pieces))
        assert DATA[sum(limits[:1]) :].startswith(bytes(came))
        assert came
