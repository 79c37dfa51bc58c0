"""Names that are too long for a file system are known before the first byte."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kaiwo.planning.long_names import LongNames

DAY = "\u65e5"  # three bytes


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the disk is asked for; it takes 143 bytes, as eCryptfs does."""
    asked: list[str] = []
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        asked.append(path)
        if len(os.path.basename(path)) > 143:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return real(path)

    monkeypatch.setattr(os, "lstat", lstat)
    return asked


def test_each_length_is_asked_for_once(tmp_path: Path, asked: list[str]) -> None:
    names = LongNames()
    for letter in "ab":
        assert names.too_long(f"{tmp_path}/missing/{letter * 143}") is None
        assert names.too_long(f"{tmp_path}/{letter * 144}/x") == letter * 144
        assert names.too_long(f"{tmp_path}/missing/{DAY * 48}") == DAY * 48
    assert asked == [f"{tmp_path}/{'n' * 143}", f"{tmp_path}/{'n' * 144}"]


def test_short_names_are_not_asked_for(tmp_path: Path, asked: list[str]) -> None:
    assert LongNames().too_long(f"{tmp_path}/{'/'.join([DAY * 40] * 30)}") is None
    assert asked == []
