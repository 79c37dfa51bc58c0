"""``publish: snapshot``: what is left out, kept and removed, also after kills and by hand."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from kaiwo.api import snapshots
from kaiwo.errors import DiskError, UnsafeNameError
from kaiwo.files import generations
from kaiwo.files.folders import open_folder, resolved
from kaiwo.files.kept_folders import kept_open
from kaiwo.state import manifest
from tests.support.command import tree
from tests.support.generations import fill, numbers, of_folder, run
from tests.support.verified import verified

pytestmark = pytest.mark.usefixtures("loopback_only", "in_tmp_path")


def go_back(out: Path, number: str) -> None:
    (out / "m").unlink()
    (out / "m").symlink_to(f".kaiwo-m.generations/{number}")


class Killed(BaseException):
    """Stands for a kill."""


def test_what_a_run_had_put_there_that_was_killed_at_the_switch_is_known(
    tmp_path: Path, out: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = manifest.Manifest.settle

    def killed(self: manifest.Manifest, switched: Any = ()) -> None:
        if switched:
            raise Killed
        settle(self)

    task = of_folder(source)
    fill(source, {"a": b"a", "b": b"b"})
    run(tmp_path, task).raise_for_failures()
    fill(source, {"a": b"a", "b": b"new", "x": b"x"})
    with monkeypatch.context() as patch:
        patch.setattr(manifest.Manifest, "settle", killed)
        with pytest.raises(Killed):
            run(tmp_path, task)
    assert set(tree((out / "m").resolve())) == {"a", "b", "x"}
    found = verified(str(tmp_path / "config.yaml"))
    assert (found.report.exit_code, found.extra) == (0, ())
    manifest.Manifest(str(out)).forget(())  # old lines are removed, and not these
    fill(source, {"a": b"a", "b": b"new"})
    report = run(tmp_path, task)
    assert {item.status for item in report.items} == {"unchanged"}
    assert tree((out / "m").resolve()) == {"a": b"a", "b": b"new"}


def test_names_that_differ_in_case_are_two_files_where_they_are(
    tmp_path: Path, out: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = of_folder(source)
    fill(source, {"readme": b"1"})
    if (source / "README").exists():
        pytest.skip("this file system ignores case")
    fill(source, {"readme": b"1", "README": b"2"})
    run(tmp_path, task).raise_for_failures()
    fill(source, {"readme": b"1"})
    run(tmp_path, task).raise_for_failures()
    assert tree((out / "m").resolve()) == {"readme": b"1"}
    # What a killed run has left in the next generation.
    with monkeypatch.context() as patch:
        patch.setattr(generations, "switch", _fail)
        fill(source, {"readme": b"1", "Config": b"3"})
        with pytest.raises(DiskError):
            run(tmp_path, task)
    fill(source, {"readme": b"1", "config": b"4"})
    run(tmp_path, task).raise_for_failures()
    assert tree((out / "m").resolve()) == {"readme": b"1", "config": b"4"}


def _fail(*_: Any, **__: Any) -> None:
    raise DiskError("cannot switch")


def test_after_going_back_what_the_source_lacks_goes_and_what_was_read_stays(
    tmp_path: Path, out: Path, source: Path
) -> None:
    task = of_folder(source, ready_file=".ready")
    fill(source, {"a": b"1", "x": b"x"})
    run(tmp_path, task).raise_for_failures()
    fill(source, {"a": b"1"})
    run(tmp_path, task).raise_for_failures()
    go_back(out, "0001")
    report = run(tmp_path, task)
    assert {item.status for item in report.items} == {"unchanged"}
    assert tree((out / "m").resolve()) == {"a": b"1", ".ready": b""}
    # Programs still read the generation that was gone back to, and not the one after it.
    assert numbers(out) == ["0001", "0003"]
    go_back(out, "0001")
    (out / ".kaiwo-m.generations/0001/x").unlink()
    run(tmp_path, task).raise_for_failures()
    assert os.readlink(out / "m") == ".kaiwo-m.generations/0001"  # nothing to do


@pytest.mark.parametrize("where", ["generations", "next", "old"])
def test_nothing_is_removed_by_way_of_a_link_in_the_root(
    tmp_path: Path, out: Path, source: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    task = of_folder(source, keep_generations=1)
    for data in (b"1", b"2"):
        fill(source, {"a": data})
        run(tmp_path, task).raise_for_failures()
    mine = out / "mine/0001"
    mine.mkdir(parents=True)
    (mine / "precious").write_bytes(b"precious")
    above = out / ".kaiwo-m.generations"
    fill(source, {"a": b"3"})
    names = vars(snapshots)["_names"]

    def swapped(*args: Any) -> Any:
        if where == "next":
            (above / "0003").rename(out / "away")
            (above / "0003").symlink_to(mine)
        return names(*args)

    if where == "old":
        (above / "0001").symlink_to(mine)
    if where == "generations":
        above.rename(out / "away")
        above.symlink_to("mine")
        with pytest.raises(UnsafeNameError, match=r"a link is at .*generations, where publish"):
            run(tmp_path, task)
    else:
        monkeypatch.setattr(snapshots, "_names", swapped)
        with pytest.raises(DiskError) if where == "next" else nullcontext():
            run(tmp_path, task).raise_for_failures()
    assert tree(mine) == {"precious": b"precious"}


@pytest.mark.parametrize(
    ("killed", "then"), [({"a": b"1"}, {"a/b": b"2"}), ({"a/b": b"1"}, {"a": b"2"})]
)
def test_a_file_that_became_a_folder_is_no_obstacle_to_the_next_run(
    tmp_path: Path,
    out: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed: dict[str, bytes],
    then: dict[str, bytes],
) -> None:
    task = of_folder(source)
    fill(source, killed)
    with monkeypatch.context() as patch:
        patch.setattr(generations, "switch", _fail)
        with pytest.raises(DiskError):
            run(tmp_path, task)
    shutil.rmtree(source)
    source.mkdir()
    fill(source, then)
    run(tmp_path, task).raise_for_failures()
    assert (tree((out / "m").resolve()), numbers(out)) == (then, ["0001"])


@pytest.mark.parametrize("what", ["a", "ab", "link", "leads to the current one"])
def test_what_others_change_in_the_next_generation_is_never_switched_to(
    tmp_path: Path, out: Path, source: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    old, new = {"a": b"1", "b": b"1", "c": b"same"}, {"a": b"2", "b": b"2", "c": b"same"}
    finish = snapshots.Snapshots.finish

    def disturbed(*args: Any) -> None:
        link = out / ".kaiwo-m.next"
        if what in ("a", "ab"):
            for name in what:
                (link / name).unlink()
        else:
            link.unlink()
        if what == "leads to the current one":
            link.symlink_to(".kaiwo-m.generations/0001")
        finish(*args)

    task = of_folder(source)
    fill(source, old)
    run(tmp_path, task).raise_for_failures()
    fill(source, new)
    with monkeypatch.context() as patch:
        patch.setattr(snapshots.Snapshots, "finish", disturbed)
        with pytest.raises(DiskError):
            run(tmp_path, task)
    assert tree((out / "m").resolve()) == old
    run(tmp_path, task).raise_for_failures()
    assert tree((out / "m").resolve()) == new


def test_a_run_that_does_not_know_of_another_one_makes_nothing_that_is_in_the_way(
    tmp_path: Path, out: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = snapshots.Snapshots.open

    def overtaken(*args: Any) -> None:
        open_(*args)
        monkeypatch.setattr(snapshots.Snapshots, "open", open_)
        # Its claims are elsewhere.
        run(tmp_path, task, state_dir=str(tmp_path / "state")).raise_for_failures()

    task = of_folder(source)
    fill(source, {"a": b"1", "b": b"1"})
    monkeypatch.setattr(snapshots.Snapshots, "open", overtaken)
    report = run(tmp_path, task)
    assert report.exit_code == 6
    assert tree((out / "m").resolve()) == {"a": b"1", "b": b"1"}
    run(tmp_path, task).raise_for_failures()
    assert not os.path.lexists(out / ".kaiwo-m.next")


def test_what_is_opened_by_way_of_the_link_is_the_next_generation(out: Path) -> None:
    out.mkdir()
    root, link = resolved(str(out)), f"{out}/.kaiwo-m.next"
    with kept_open():  # of another run in this program
        for number in ("0001", "0002", "0003"):
            generations.begin(f"{out}/m", root)
            generations.require_next(f"{out}/m", root)
            folder = open_folder(link, root)
            expected = os.stat(out / ".kaiwo-m.generations" / number)
            assert os.path.samestat(os.fstat(folder.descriptor), expected)
            if number == "0002":  # somebody else switches
                os.rename(link, out / "m")
            else:
                generations.switch(f"{out}/m", root, durable=False)
