"""What ``kaiwo clean`` finds and removes; what it leaves alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.jobs import Outcome
from kaiwo.objects import RemoteObject
from kaiwo.state import leftovers
from kaiwo.state.folder import claims_folder
from kaiwo.state.manifest import Manifest
from kaiwo.state.state import State
from tests.unit.state.holders import MIDDLE, QUICK, Holding, in_thread, posted
from tests.unit.state.killed_runs import DEAD, big, killed, transfer


def left(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def published(root: Path, *names: str) -> None:
    """These files are in place, and in the manifest."""
    manifest = Manifest(str(root))
    for name in names:
        path = root / name
        path.write_bytes(b"bytes")
        mtime_ns = path.stat().st_mtime_ns
        there = replace(
            transfer(root, big(), "0"), target=str(path), object=RemoteObject(name, 5, "etag")
        )
        manifest.remember([Outcome(there, published=True, mtime_ns=mtime_ns)])
    manifest.close()


@pytest.fixture(params=[False, True], ids=["in the root", "elsewhere"])
def state_dir(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return str(tmp_path / "state") if request.param else None


def test_what_a_run_can_resume_is_kept_unless_it_is_asked_for(
    tmp_path: Path, state_dir: str | None
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    killed(root, big(), 0, state_dir=state_dir)
    (part,) = root.glob(".kaiwo-*.part")
    useless = root / f".kaiwo-{DEAD}-7.part"
    useless.write_bytes(b"x")
    of_another = root / ".kaiwo-beef-1.part"
    of_another.write_bytes(b"x")
    mine = root / "mine.part"
    mine.write_bytes(b"x")
    found = leftovers.find(str(root), state_dir)
    assert (found.temporary, found.resumable) == ((str(useless),), (str(part),))
    assert len(found.journals) == 1
    leftovers.remove(found, state_dir)
    assert (useless.exists(), part.exists(), of_another.exists()) == (False, True, True)
    assert State(state_dir, "0").partial_download(transfer(root, big(), "0")) is not None
    leftovers.remove(leftovers.find(str(root), state_dir), state_dir, partial=True)
    assert not part.exists()
    assert leftovers.find(str(root), state_dir).is_empty
    assert {of_another.name, mine.name} <= left(root)


def test_nothing_is_removed_where_a_run_is_at_work(tmp_path: Path, holding: Holding) -> None:
    killed(tmp_path, big(), 0)
    before = left(tmp_path)
    folder = claims_folder(str(tmp_path))
    child = holding({folder: ["a"]})
    assert child.says() == "taken"
    found = leftovers.find(str(tmp_path))
    assert len(found.holders) == 1
    assert found.is_empty
    child.kill()
    found = leftovers.find(str(tmp_path))
    assert (found.holders, len(found.claims)) == ((), 1)
    leftovers.remove(found)
    assert left(tmp_path) == before


def test_a_run_that_begins_meanwhile_keeps_everything(tmp_path: Path) -> None:
    killed(tmp_path, big(), 0)
    found = leftovers.find(str(tmp_path))
    posted(claims_folder(str(tmp_path)))
    before = left(tmp_path)
    leftovers.remove(found, partial=True)
    assert left(tmp_path) == before


def test_a_run_elsewhere_is_over_when_it_does_not_touch_its_claim(tmp_path: Path) -> None:
    path = posted(claims_folder(str(tmp_path)))
    assert leftovers.find(str(tmp_path), timing=QUICK).claims == (str(path),)
    pause = threading.Event()
    with in_thread(lambda: bool(leftovers.find(str(tmp_path), timing=QUICK).holders)) as lives:
        while not lives.done():
            os.utime(path)
            pause.wait(0.02)
        assert lives.result()


def test_a_claim_of_a_newer_kaiwo_is_kept(tmp_path: Path) -> None:
    posted(claims_folder(str(tmp_path)), MIDDLE, **{"kaiwo-claim": 99})
    assert leftovers.find(str(tmp_path), timing=QUICK).holders == ("a run of a newer kaiwo",)


def test_lines_of_files_that_are_gone_go_and_all_others_stay(tmp_path: Path) -> None:
    published(tmp_path, "a", "b", "c")
    (tmp_path / "b").unlink()
    found = leftovers.find(str(tmp_path))
    assert (found.gone, found.unsure) == ((str(tmp_path / "b"),), False)
    leftovers.remove(found)
    lines = (tmp_path / ".kaiwo/manifest.jsonl").read_text()
    assert ['"target":"a"' in lines, '"target":"b"' in lines, '"target":"c"' in lines] == [
        True,
        False,
        True,
    ]
    assert leftovers.find(str(tmp_path)).is_empty
    assert (tmp_path / "a").read_bytes() == b"bytes"


@pytest.mark.parametrize("how", ["empty", "another"])
def test_no_line_goes_where_the_volume_may_be_another(tmp_path: Path, how: str) -> None:
    published(tmp_path, "a", "b")
    for name in ("a", "b"):
        (tmp_path / name).unlink()
    if how == "another":
        (tmp_path / "a").write_bytes(b"of another volume")
    found = leftovers.find(str(tmp_path))
    assert (found.gone, found.unsure) == ((), True)
    leftovers.remove(found)
    assert len((tmp_path / ".kaiwo/manifest.jsonl").read_text().splitlines()) == 3


def test_a_root_without_anything_is_left_alone(tmp_path: Path) -> None:
    found = leftovers.find(str(tmp_path / "none"))
    assert found.is_empty
    leftovers.remove(found)
    assert list(tmp_path.iterdir()) == []


def test_where_a_killed_run_met_its_workers_is_removed(tmp_path: Path) -> None:
    meeting = tmp_path / ".kaiwo" / "run-ab"
    meeting.mkdir(parents=True)
    (meeting / "run.json").write_text("{}")
    found = leftovers.find(str(tmp_path))
    assert found.temporary == (str(meeting / "run.json"),)
    leftovers.remove(found)
    assert not meeting.exists()
