"""Which targets a run claims, and where."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kaiwo.jobs import Transfer
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Opener
from kaiwo.state.claims import Claim, targets_of
from kaiwo.state.folder import claims_folder
from tests.support.faulty import FaultyOpener, FaultyStore
from tests.unit.state.holders import files


def transfer(target: str, root: str, blob: str | None = None) -> Transfer:
    opener: Opener = FaultyOpener(FaultyStore())
    return Transfer(0, "run", "task", opener, RemoteObject("key", 1), target, root, blob)


def hashes(*transfers: Transfer) -> frozenset[str]:
    """What is claimed, all folders together."""
    found: Mapping[str, Any] = targets_of(transfers)
    return frozenset(each for own in found.values() for each in own)


def test_claims_lie_in_the_state_folder_of_the_root_or_in_the_one_that_was_named() -> None:
    assert list(targets_of([transfer("/r/a", "/r")])) == ["/r/.kaiwo/claims"]
    (folder,) = targets_of([transfer("/r/a", "/r")], "/state")
    assert folder == claims_folder("/r", "/state")
    assert Path(folder).parent == Path("/state")
    assert folder != claims_folder("/q", "/state")


def test_a_target_is_the_same_wherever_its_root_is_mounted(tmp_path: Path) -> None:
    assert hashes(transfer("/r/x/a", "/r")) == hashes(transfer("/q/s/x/a", "/q/s"))
    assert hashes(transfer("/r/a", "/r")) != hashes(transfer("/r/b", "/r"))
    assert hashes(transfer("/a", "/")) == hashes(transfer("/r/a", "/r"))
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to("root")
    link, root = (str(tmp_path / name) for name in ("link", "root"))
    assert hashes(transfer(f"{link}/a", link)) == hashes(transfer(f"{root}/a", root))


def test_a_target_behind_a_link_inside_its_root_is_the_one_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    root = str(tmp_path)
    assert hashes(transfer(f"{root}/link/a", root)) == hashes(transfer(f"{root}/folder/a", root))


def test_a_blob_is_claimed_beside_the_link_to_it() -> None:
    own = hashes(transfer("/r/snapshots/1/a", "/r", "/r/blobs/x"))
    other = hashes(transfer("/r/snapshots/2/a", "/r", "/r/blobs/x"))
    assert (len(own), len(own & other)) == (2, 1)


def test_a_hundred_thousand_targets_are_claimed_in_a_small_file_by_few_questions_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    lstat = os.lstat

    def counted(path: str) -> os.stat_result:
        asked.append(None)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", counted)
    dice = random.Random(5)
    questions = {}
    for count in (100, 100_000):
        root = str(tmp_path / "root")
        transfers = [
            transfer(f"{root}/folder{number % 100}/{dice.randrange(10**9)}-{number}", root)
            for number in range(count)
        ]
        asked.clear()
        with Claim("1") as own:
            own.take(targets_of(transfers))
            (path,) = files(claims_folder(root))
            assert path.stat().st_size < 30 * count + 1_000
        questions[count] = len(asked)
    assert 0 < questions[100] == questions[100_000], "asked for each folder, not for each target"
