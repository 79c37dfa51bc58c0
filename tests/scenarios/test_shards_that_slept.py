"""Shards that others take for dead, and that wake up later; what cannot be read of others."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaiwo.api import shard_plan, tools
from kaiwo.api.report import Report
from kaiwo.errors import DiskError
from kaiwo.events import Event, Planned, Progressed, Settled
from kaiwo.files import inherited_files
from kaiwo.state import leftovers
from tests.scenarios.test_shards import FEW, LARGE, MIB, Shards, checked
from tests.support.stores import Store

pytestmark = pytest.mark.usefixtures("loopback_only", "in_tmp_path")


@pytest.fixture
def few(s3: Store, tmp_path: Path) -> Shards:
    return Shards(s3, tmp_path / "root", FEW)


def sleep(root: Path) -> None:
    """What others do when a run has not touched its claims for half a minute."""
    for claim in root.glob(".kaiwo/claims/*"):
        claim.unlink()


class Sink:
    """Calls this for each event."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.emit = emit


def test_a_plan_that_was_made_while_another_shard_slept_stays(
    few: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tools.listed
    slept: list[bool] = []
    others: list[Report] = []

    def slowly(*arguments: Any) -> Any:
        found = listed(*arguments)
        if not slept:
            slept.append(True)
            sleep(few.root)
            few.objects["d/new"] = b"came later"
            few.store.fill(few.bucket, {"d/new": b"came later"})
            others.append(few.run("1/2"))
        return found

    monkeypatch.setattr(shard_plan, "listed", slowly)
    # What the other one has left to this one is done, and checked as a whole.
    last = few.run("0/2")
    assert last.to_dict()["shard"]["plan"] == others[0].to_dict()["shard"]["plan"]
    assert checked(last)
    few.assert_whole()


def test_a_shard_that_slept_does_not_speak_for_the_one_that_took_its_place(few: Shards) -> None:
    def slowly(event: Event) -> None:
        if isinstance(event, Planned):
            sleep(few.root)
            assert few.run("1/2").ok
            raise DiskError("what this one was to write is gone")

    with pytest.raises(DiskError, match="is gone"):
        few.run("1/2", sink=Sink(slowly))
    assert checked(few.run("0/2"))
    few.assert_whole()


def test_a_result_that_cannot_be_read_is_no_shard_that_is_at_work(few: Shards) -> None:
    assert few.run("0/2").ok
    (result,) = few.root.glob(".kaiwo/shard-*-0.jsonl")
    result.unlink()
    result.mkdir()
    with pytest.raises(DiskError, match="cannot read"):
        few.run("1/2")
    result.rmdir()
    assert not checked(few.run("1/2"))
    assert checked(few.run("0/2"))


def test_what_starts_again_is_in_no_file_that_shards_share(s3: Store, tmp_path: Path) -> None:
    shards = Shards(s3, tmp_path / "root", {"d/large": LARGE[: 16 * MIB - 1000]})
    assert shards.run("0/2").ok
    (shared,) = shards.root.glob(".kaiwo-*.part")
    names: set[str] = set()

    def lose(event: Event) -> None:
        if isinstance(event, Settled) and not names:
            names.add(shared.name)
            with shared.open("r+b") as file:
                file.write(bytes(MIB))
            shards.objects["d/large"] = random.Random(5).randbytes(16 * MIB - 1000)
            shards.store.fill(shards.bucket, shards.objects)
        if isinstance(event, Progressed):
            names.update(each.name for each in shards.root.glob(".kaiwo-*.1.part"))

    assert checked(shards.run("1/2", sink=Sink(lose)))
    shards.assert_whole()
    names.remove(shared.name)
    assert names
    token = shared.name.split("-")[1]
    assert not [each for each in names if token in each]


def test_what_shards_have_is_not_cleaned_in_any_root_while_one_is_at_work(
    s3: Store, tmp_path: Path
) -> None:
    shards = Shards(s3, tmp_path / "root", {**FEW, "e/large": LARGE[: 16 * MIB - 1000]})
    items = shards.config["download_items"][0]["buckets"][0]["items"]
    items.append({"folder": "e", "target_path": str(tmp_path / "other")})
    holders: list[tuple[str, ...]] = []

    def look(event: Event) -> None:
        if isinstance(event, Planned):
            holders.extend(
                leftovers.find(str(tmp_path / each)).holders for each in ("root", "other")
            )

    assert shards.run("0/2", sink=Sink(look)).ok
    assert holders
    assert all(holders)


def test_nobody_waits_for_the_other_end_of_a_pipe_in_place_of_a_plan_or_a_result(
    few: Shards,
) -> None:
    assert few.run("0/2").ok
    for name in ("plan-*.jsonl", "shard-*-0.jsonl"):
        (path,) = few.root.glob(f".kaiwo/{name}")
        path.unlink()
        os.mkfifo(path)
    assert few.run("1/2").ok
    assert checked(few.run("0/2"))
    few.assert_whole()


def test_a_part_that_another_shard_publishes_with_the_whole_meanwhile_is_done(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Shards(s3, tmp_path / "root", {"d/large": LARGE[: 16 * MIB - 1000]})
    assert shards.run("0/2").ok

    def end(event: Event) -> None:
        if isinstance(event, Settled):
            raise DiskError("evicted right after the last byte")

    with pytest.raises(DiskError, match="evicted"):
        shards.run("1/2", sink=Sink(end))
    join = inherited_files.join
    begun: list[str] = []

    def publish(path: str, *others: Any) -> None:
        join(path, *others)
        begun.append(path)
        if len(begun) == 1:
            shards.run("0/2")
            assert (shards.root / "large").exists()

    monkeypatch.setattr(inherited_files, "join", publish)
    assert checked(shards.run("1/2"))
    shards.assert_whole()
