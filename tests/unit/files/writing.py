"""What several tests of files need: a transfer, a range written as a run does it, an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kaiwo.errors import DiskError
from kaiwo.files import temporary_files
from kaiwo.jobs import Transfer
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from tests.support.faulty import PatternOpener, transfer_of


def write_range(path: str, parts: Sequence[Buffer], offset: int) -> None:
    """As a run does it: the file is made once, then its ranges come."""
    if not os.path.exists(path):
        temporary_files.create(path)
    temporary_files.write_range(path, parts, offset)


OPENER = PatternOpener(())


def transfer(root: Path, key: str = "deep/er/a.bin") -> Transfer:
    return transfer_of(OPENER, RemoteObject(key, 3), root)


def refused(number: int, path: str | Path, action: Callable[[], object]) -> str:
    """The message of the disk error that the action has to end with."""
    with pytest.raises(DiskError) as caught:
        action()
    message = caught.value.message
    assert message.startswith(f"cannot write {path}: {os.strerror(number)}")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number
    return message
