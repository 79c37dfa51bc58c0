"""``publish: snapshot``: a reader sees whole sets only."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api import snapshots
from kaiwo.api.orders import order_of
from kaiwo.api.run import decide
from kaiwo.cli.cleaning import clean
from kaiwo.config.loader import load
from kaiwo.errors import ConfigError, DiskError, UnsafeNameError
from kaiwo.files import generations, second_names
from kaiwo.reporting import plan_json, plan_text
from kaiwo.reporting.displays import QuietSink
from tests.support import crashing
from tests.support.command import clean_environment, configured, tree
from tests.support.crashing import Death
from tests.support.faulty import content
from tests.support.generations import ITEM, fill, numbers, of_folder, run
from tests.support.proxies import counting
from tests.support.signing import Signer
from tests.support.stores import Store
from tests.support.trials_length import LONG
from tests.support.verified import verified

OBJECTS = {"m/a": b"a", "m/b": b"bb", "m/sub/c": b"ccc"}
pytestmark = pytest.mark.usefixtures("loopback_only", "in_tmp_path")


# --- what a reader sees -----------------------------------------------------------------------


class Reader:
    """Looks at a snapshot every millisecond, as a program does that opens the folder once."""

    def __init__(self, target: Path) -> None:
        self.seen: list[dict[str, bytes]] = []
        self._target = target
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @contextmanager
    def reading(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.001):
            try:
                folder = self._target.resolve(strict=True)
            except FileNotFoundError:
                assert not self.seen, "the target was gone for a moment"
                continue
            now = tree(folder)
            if not self.seen or self.seen[-1] != now:
                self.seen.append(now)


def test_a_reader_sees_whole_generations_only_whenever_runs_are_killed(
    tmp_path: Path, out: Path, source: Path
) -> None:
    versions = [
        {f"{number}": b"%d of %d" % (number, version) for number in range(version, version + 5)}
        | {"same": b"same", "sub/version": b"%d" % version}
        for version in range(4)
    ]
    path = configured(tmp_path, of_folder(source, ready_file=".ready"))
    fill(source, versions[0])
    kaiwo.download(path, progress="none").raise_for_failures()
    environment, killed = clean_environment(tmp_path), 0
    reader = Reader(out / "m")
    with crashing.commands(environment) as command, reader.reading():
        # While files arrive, while files are linked, and in an update that nothing disturbs.
        deaths = [("os.rename", 3), ("os.link", 2), ("", 0)]
        for version, (kind, step) in zip(versions[1:], deaths, strict=True):
            fill(source, version)
            for each in (step, 0):
                death = Death(each, among=kind)
                order = crashing.Order((path,), environment, str(tmp_path), str(out), death)
                code = command(order)
                killed += code == -signal.SIGKILL
            assert code == 0
    assert killed == 2
    assert reader.seen == [each | {".ready": b""} for each in versions]
    assert numbers(out) == ["0003", "0004"]
    assert not (out / ".kaiwo-m.next").is_symlink()


def test_killed_at_any_step_the_next_run_ends_with_the_new_set(
    tmp_path: Path, out: Path, source: Path
) -> None:
    old = {"a": b"old a", "b": b"old b", "c": b"same"}
    new = {"a": b"new a!", "c": b"same", "d": b"new d"}
    path = configured(tmp_path, of_folder(source, keep_generations=1))
    fill(source, old)
    kaiwo.download(path, progress="none").raise_for_failures()
    fill(source, new)
    begun, environment = tmp_path / "begun", clean_environment(tmp_path)
    shutil.copytree(out, begun, symlinks=True)
    kinds: dict[str, Sequence[int]] = {
        "os.symlink": (1,),
        "os.link": (2,),
        "os.rename": (2, 3),
        "os.rmdir": (1,),
    }
    if LONG:
        kinds = dict.fromkeys((*kinds, "os.mkdir", "os.remove", "write"), range(1, 9))
    died: set[str] = set()
    with crashing.commands(environment) as command:
        for kind, steps in kinds.items():
            for step in steps:
                shutil.rmtree(out)
                shutil.copytree(begun, out, symlinks=True)  # with the times of its files
                death = Death(step, among=kind)
                order = crashing.Order((path,), environment, str(tmp_path), str(out), death)
                if command(order) == -signal.SIGKILL:
                    died.add(kind)
                elif not LONG:
                    pytest.fail(f"{death} is too late")
                assert tree((out / "m").resolve()) in (old, new), death
                # Nothing that the run had put there is fetched again, also without checksums.
                there = {
                    each.name for each in out.glob(".kaiwo-m.generations/0002/*") if each.is_file()
                }
                report = kaiwo.download(path, progress="none")
                assert report.exit_code == 0, death
                assert tree((out / "m").resolve()) == new, death
                fetched = {Path(i.target).name for i in report.items if i.status == "downloaded"}
                unsaid = fetched & {name for name in there if not name.startswith(".kaiwo")}
                # The line of a file is written right after the file: two of them at most.
                assert len(unsaid) <= 2 if kind in ("write", "os.rename") else not unsaid, death
                found = verified(path)
                assert (found.report.exit_code, found.extra) == (0, ()), death
                assert clean(path, OPTIONS, yes=False, partial=True) == 0
    assert died == set(kinds)


def test_a_run_that_is_killed_within_a_file_is_resumed_there(
    tmp_path: Path, out: Path, source: Path
) -> None:
    data = content(12 << 20)
    fill(source, {"large": data, "small": b"s"})
    path = configured(tmp_path, of_folder(source))
    environment = clean_environment(tmp_path)
    with crashing.commands(environment) as command:
        arguments = (path, "--max-workers", "1")
        death = Death(8, among="pwrite")
        order = crashing.Order(arguments, environment, str(tmp_path), str(out), death)
        assert command(order) == -signal.SIGKILL
    assert not os.path.lexists(out / "m")
    report = kaiwo.download(path, progress="none")
    assert {Path(item.target).name: item.status for item in report.items} == {
        "large": "resumed",
        "small": "downloaded",
    }
    assert tree((out / "m").resolve()) == {"large": data, "small": b"s"}
    assert numbers(out) == ["0001"]


OPTIONS: dict[str, Any] = {
    "log_level": None,
    "log_format": None,
    "state_dir": None,
    "download_root": None,
}


# --- what an update costs ---------------------------------------------------------------------


def test_of_many_files_the_changed_one_is_fetched_and_an_unchanged_set_costs_nothing(
    s3: Store, tmp_path: Path, out: Path
) -> None:
    bucket = s3.new_bucket({f"m/{number:02}": b"%d" % number for number in range(40)})
    with counting(s3) as proxy:
        task = proxy.stores[0].task(bucket, [ITEM])
        run(tmp_path, task).raise_for_failures()
        before = os.lstat(out / "m")
        inodes = {each.name: each.stat().st_ino for each in (out / "m").iterdir()}

        proxy.reset()
        report = run(tmp_path, task)
        assert [item.status for item in report.items] == ["unchanged"] * 40
        assert proxy.counts().gets == 0
        assert (os.lstat(out / "m").st_ino, numbers(out)) == (before.st_ino, ["0001"])

        s3.fill(bucket, {"m/07": b"new"})
        proxy.reset()
        report = run(tmp_path, task)
        assert proxy.counts().gets == 1
    changed = [item for item in report.items if item.status == "downloaded"]
    assert [item.target for item in changed] == [str(out / "m/07")]
    assert (out / "m/07").read_bytes() == b"new"
    assert (out / ".kaiwo-m.generations/0001/07").read_bytes() == b"7"
    now = {each.name: each.stat().st_ino for each in (out / "m").iterdir()}
    assert {name for name in now if now[name] != inodes[name]} == {"07"}
    assert os.readlink(out / "m") == ".kaiwo-m.generations/0002"


@pytest.mark.parametrize("way", ["clone or copy", "copy"])
def test_without_hard_links_an_unchanged_file_is_copied_and_known_afterwards(
    tmp_path: Path, out: Path, source: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    if way == "copy":
        monkeypatch.setattr(second_names, "_clone", lambda *_: False)
    fill(source, {"a": b"a", "b": b"b"})
    (source / "b").chmod(0o640)
    task = of_folder(source)
    run(tmp_path, task).raise_for_failures()
    before = (out / "m/b").stat()
    fill(source, {"a": b"new", "b": b"b"})
    run(tmp_path, task, fsync=True).raise_for_failures()
    now = (out / "m/b").stat()
    assert (now.st_mode, now.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert now.st_ino != before.st_ino
    assert {item.status for item in run(tmp_path, task).items} == {"unchanged"}
    assert numbers(out) == ["0001", "0002"]


# --- what a generation holds ------------------------------------------------------------------


def test_what_the_source_lacks_is_not_in_the_next_generation(
    s3: Store, tmp_path: Path, out: Path
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    task = s3.task(bucket, [ITEM | {"ready_file": ".ready", "keep_generations": 3}])
    run(tmp_path, task).raise_for_failures()
    (out / "m/mine").write_bytes(b"of somebody else")
    run(tmp_path, task).raise_for_failures()
    assert numbers(out) == ["0001"]  # it is no difference of the source
    task["buckets"][0]["items"][0]["exclude"] = "b"
    decision = decide(order_of(load(configured(tmp_path, task), {})), QuietSink())
    (switch,) = json.loads("\n".join(plan_json.lines(decision)))["switches"]
    assert switch == {"task": "s3", "target": str(out / "m"), "gone": [str(out / "m/b")]}
    said = "\n".join(plan_text.lines(decision, None))
    assert "switch, once all is in place: a new generation, without 1 file" in said
    assert numbers(out) == ["0001"]

    run(tmp_path, task).raise_for_failures()
    assert tree((out / "m").resolve()) == {"a": b"a", "sub/c": b"ccc", ".ready": b""}
    assert "mine" in tree(out / ".kaiwo-m.generations/0001")
    found = verified(str(tmp_path / "config.yaml"))
    assert (found.report.exit_code, found.extra) == (0, ())
    # Nothing listed is probably a mistake.
    task["buckets"][0]["items"][0] |= {"folder": "empty", "allow_empty": True}
    run(tmp_path, task).raise_for_failures()
    assert set(tree((out / "m").resolve())) == {"a", "sub/c", ".ready"}
    assert numbers(out) == ["0001", "0002"]


def test_a_failure_leaves_the_generation_before_and_the_next_run_continues(
    s3: Store, tmp_path: Path, out: Path
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    task = s3.task(bucket, [ITEM])
    run(tmp_path, task).raise_for_failures()
    s3.fill(bucket, {"m/a": b"new a", "m/x.gguf": b"no model"})
    report = run(tmp_path, task | {"check_format": True})
    assert report.exit_code == 7
    assert {Path(item.target).name: item.status for item in report.items} == {
        "a": "failed",  # it is not at its target
        "x.gguf": "failed",
        "b": "unchanged",
        "c": "unchanged",
    }
    (error,) = (item.error for item in report.failed if item.target.endswith("/a"))
    assert error is not None
    assert error.kind == "unfinished"
    assert tree((out / "m").resolve()) == {"a": b"a", "b": b"bb", "sub/c": b"ccc"}
    with counting(s3) as proxy:
        way = proxy.stores[0].task(bucket, [ITEM | {"exclude": "*.gguf"}])
        proxy.reset()
        # The address is another one, and with it the source: so its bytes are hashed.
        report = run(tmp_path, way)
        assert report.exit_code == 0
        assert proxy.counts().gets == 0
    assert tree((out / "m").resolve()) == {"a": b"new a", "b": b"bb", "sub/c": b"ccc"}


def test_a_repository_follows_its_commits(hub: Store, tmp_path: Path, out: Path) -> None:
    hub.fill("snap/some", {"config.json": b"1", "w.bin": b"weights", "old": b"old"})
    task = hub.task("snap/some", [], target_path=str(out / "m"), publish="snapshot")
    run(tmp_path, task).raise_for_failures()
    inode = (out / "m/w.bin").stat().st_ino
    (Path(hub.settings["root"]) / "models/snap--some/main/old").unlink()
    hub.fill("snap/some", {"config.json": b"2"})
    report = run(tmp_path, task)
    assert sorted(item.status for item in report.items) == ["downloaded", "unchanged"]
    assert tree((out / "m").resolve()) == {"config.json": b"2", "w.bin": b"weights"}
    assert (out / "m/w.bin").stat().st_ino == inode
    assert (out / ".kaiwo").is_dir()  # not behind the link
    some = task | {"files": ["config.json", "w.bin"]}
    run(tmp_path, some).raise_for_failures()
    assert numbers(out) == ["0001", "0002"]
    assert run(tmp_path, some | {"files": ["config.json", "absent"]}).exit_code == 4
    assert set(tree((out / "m").resolve())) == {"config.json", "w.bin"}
    assert numbers(out) == ["0001", "0002"]


def test_what_is_at_the_target_counts_under_a_lock_only_when_it_was_hashed(
    s3: Store, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    task = s3.task(bucket, [ITEM])

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    run(tmp_path, task, write_lock=True).raise_for_failures()
    for options in {"locked": True}, {"write_lock": True}:
        report = run(tmp_path, task, **options)
        assert {item.status for item in report.items} == {"unchanged"}
        assert (report.exit_code, numbers(out)) == (0, ["0001"])
        assert not (out / ".kaiwo-m.next").is_symlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", refuse)
        assert run(tmp_path, task, locked=True).exit_code == 0  # there is nothing to write
    times = (out / "m/b").stat()
    (out / "m/b").write_bytes(b"xx")  # of the same size and time
    os.utime(out / "m/b", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert verified(str(tmp_path / "config.yaml")).report.exit_code == 7
    assert run(tmp_path, task).exit_code == 0  # memory is believed
    assert (out / "m/b").read_bytes() == b"xx"
    report = run(tmp_path, task, locked=True)
    assert sorted(item.status for item in report.items) == ["downloaded", "unchanged", "unchanged"]
    assert tree((out / "m").resolve()) == {"a": b"a", "b": b"bb", "sub/c": b"ccc"}
    assert numbers(out) == ["0001", "0002"]


def test_a_signed_model_is_switched_when_all_of_it_is_as_signed(
    s3: Store, tmp_path: Path, out: Path
) -> None:
    signer = Signer.new(tmp_path / "signer")
    files = {"a.bin": b"aaa", "sub/b.txt": b"bbbb"}
    objects = {**files, "model.sig": signer.bundle(files)}
    bucket = s3.new_bucket({f"m/{key}": data for key, data in objects.items()})
    task = s3.task(bucket, [ITEM], signature=signer.field())
    run(tmp_path, task).raise_for_failures()
    assert tree((out / "m").resolve()) == objects
    files |= {"a.bin": b"new"}
    bundle = signer.bundle(files)
    s3.fill(bucket, {"m/a.bin": b"nEw", "m/model.sig": bundle})
    assert run(tmp_path, task).exit_code == 7
    assert tree((out / "m").resolve()) == objects
    s3.fill(bucket, {"m/a.bin": b"new"})
    run(tmp_path, task).raise_for_failures()
    assert tree((out / "m").resolve()) == {**files, "model.sig": bundle}
    assert numbers(out) == ["0001", "0002"]


# --- two runs ---------------------------------------------------------------------------------


def test_of_two_runs_at_once_one_makes_the_generation(
    s3: Store, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    task = s3.task(bucket, [ITEM])
    run(tmp_path, task).raise_for_failures()
    s3.fill(bucket, {"m/a": b"new"})
    path = configured(tmp_path, task)
    planned = threading.Barrier(2)
    real = snapshots.changing

    def together(*args: Any) -> Any:
        # Both have planned, and neither has a claim yet.
        planned.wait(60)
        return real(*args)

    monkeypatch.setattr("kaiwo.api.run.changing", together)
    reports: list[kaiwo.Report] = []
    threads = [
        threading.Thread(target=lambda: reports.append(kaiwo.download(path, progress="none")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.exit_code for report in reports] == [0, 0]
    assert sum(item.status == "downloaded" for each in reports for item in each.items) == 1
    assert numbers(out) == ["0001", "0002"]
    assert tree((out / "m").resolve()) == {"a": b"new", "b": b"bb", "sub/c": b"ccc"}


def test_a_link_that_somebody_moves_during_a_run_is_not_switched(
    tmp_path: Path, out: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = generations.begin

    def moved(target: str, root: Any) -> None:
        begin(target, root)
        os.unlink(target)
        os.symlink(".kaiwo-m.generations/0001", target)

    task = of_folder(source)
    for data in (b"1", b"2", b"3"):
        fill(source, {"a": data, "b": b"b"})
        if data == b"3":
            monkeypatch.setattr(generations, "begin", moved)
            with pytest.raises(DiskError, match="leads elsewhere since this run began"):
                run(tmp_path, task)
        else:
            run(tmp_path, task).raise_for_failures()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert (out / "m/a").read_bytes() == b"1"
    run(tmp_path, task).raise_for_failures()
    assert ((out / "m/a").read_bytes(), numbers(out)) == (b"3", ["0001", "0003"])


# --- what cannot be ---------------------------------------------------------------------------


def test_what_cannot_be_a_snapshot_is_refused_before_the_first_byte(
    s3: Store, tmp_path: Path, out: Path
) -> None:
    bucket = s3.new_bucket({**OBJECTS, "other/sub/x": b"x"})
    file = {"file": "m/a", "target_path": "n", "publish": "snapshot"}
    inside = {"file": "m/b", "target_path": "m/n"}
    refusals: list[tuple[list[dict[str, Any]], str]] = [
        ([file], "unknown key 'publish'; only some entries have it|unknown key 'publish'"),
        ([ITEM, ITEM | {"glob": "a"}], "this is the snapshot of .* too"),
        ([ITEM, ITEM | {"target_path": "m/n"}], "in the snapshot of .*, which holds nothing else"),
        ([ITEM, inside], "in the snapshot of .*, which holds nothing else"),
        ([ITEM | {"publish": "files", "keep_generations": 2}], "needs publish: snapshot"),
        ([ITEM | {"allow_partial": True}], "publish: snapshot and allow_partial exclude"),
        ([ITEM | {"target_path": "/"}], "puts a link there"),
        ([ITEM | {"target_path": "./"}], "this is download_root, and a snapshot has its files"),
        ([ITEM | {"target_path": "x" * 250}], "name is too long"),
        ([ITEM | {"target_path": ".kaiwo-x.next/y"}], "generations of snapshots"),
    ]
    for items, words in refusals:
        with pytest.raises(ConfigError, match=words):
            run(tmp_path, s3.task(bucket, items))
    hub_task = {"type": "hf", "repo_id": "a/b", "publish": "snapshot"}
    with pytest.raises(ConfigError, match="publish: snapshot needs target_path"):
        run(tmp_path, hub_task)
    # What only a listing tells.
    for other in ({"folder": "other", "target_path": "m"}, {"folder": "other", "target_path": "M"}):
        with pytest.raises(UnsafeNameError, match=r"is in the snapshot .*/out/m "):
            run(tmp_path, s3.task(bucket, [ITEM, other]))
    assert not out.exists()

    out.mkdir()
    obstacles: tuple[Callable[[], Any], ...] = (
        (out / "m").mkdir,
        (out / "m").touch,
        lambda: (out / "m").symlink_to(tmp_path),
        (out / ".kaiwo-m.next").mkdir,
    )
    for make in obstacles:
        make()
        with pytest.raises(UnsafeNameError, match="where publish: snapshot puts a link; move"):
            run(tmp_path, s3.task(bucket, [ITEM]))
        (path,) = out.iterdir()  # nothing else was written
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    # An item beside it may not lead there by another way.
    run(tmp_path, s3.task(bucket, [ITEM])).raise_for_failures()
    (out / "by").symlink_to(".")
    with pytest.raises(UnsafeNameError, match="is in the snapshot"):
        run(tmp_path, s3.task(bucket, [ITEM, {"file": "m/a", "target_path": "by/m/z"}]))
    run(tmp_path, s3.task(bucket, [ITEM, {"folder": "other", "target_path": "n"}]))
    assert tree(out / "n") == {"sub/x": b"x"}


@pytest.mark.parametrize("prune", [False, True])
def test_the_files_of_a_generation_are_not_changed_by_way_of_its_link(
    tmp_path: Path, out: Path, source: Path, *, prune: bool
) -> None:
    fill(source, {"a": b"a", "b": b"bb"})
    run(tmp_path, of_folder(source)).raise_for_failures()
    fill(source, {"a": b"new"})
    item = {"folder": f"file://{source}", "target_path": "m", "prune": prune}
    file = {"file": f"file://{source}/a", "target_path": "by/sub/new"}
    (out / "by").symlink_to("m")
    for each in (item, file):
        with pytest.raises(UnsafeNameError, match="a link leads into a snapshot, whose files"):
            run(tmp_path, {"type": "url", "items": [each]})
    (out / "by").unlink()
    assert tree(out / "m") == {"a": b"a", "b": b"bb"}
    run(tmp_path, of_folder(source)).raise_for_failures()
    assert tree(out / "m") == {"a": b"new"}


def test_without_symbolic_links_nothing_is_fetched(
    tmp_path: Path, out: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", refuse)
    fill(source, {"a": b"a"})
    with pytest.raises(DiskError, match="has no symbolic links") as raised:
        run(tmp_path, of_folder(source))
    assert raised.value.exit_code == 6
    assert tree(out) == {}


def test_a_url_is_fetched_as_a_snapshot(tmp_path: Path, source: Path) -> None:
    fill(source, {"a": b"a"})
    path = kaiwo.fetch(f"file://{source}/", tmp_path / "x/y", publish="snapshot", progress="none")
    assert (path, os.readlink(path)) == (tmp_path / "x/y", ".kaiwo-y.generations/0001")
    assert tree(path.resolve()) == {"a": b"a"}
    assert sorted(os.listdir(path.parent)) == [".kaiwo", ".kaiwo-y.generations", "y"]


# --- what is left behind ----------------------------------------------------------------------


def test_clean_removes_a_generation_that_was_never_switched_to_on_request(
    tmp_path: Path,
    out: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = of_folder(source)
    for data in (b"1", b"2"):
        fill(source, {"a": data, "b": b"b"})
        with monkeypatch.context() as patch:
            if data == b"2":
                patch.setattr(generations, "switch", _fail)
                with pytest.raises(DiskError):
                    run(tmp_path, task)
            else:
                run(tmp_path, task).raise_for_failures()
    path = str(tmp_path / "config.yaml")
    for place in (path, str(out)):
        clean(place, OPTIONS, yes=True, partial=False)
        said = capsys.readouterr().out
        assert "a generation that a run can continue; kept, --partial removes it" in said
        assert str(out / ".kaiwo-m.next") in said
    assert numbers(out) == ["0001", "0002"]
    clean(path, OPTIONS, yes=True, partial=True)
    assert numbers(out) == ["0001"]
    assert not os.path.lexists(out / ".kaiwo-m.next")
    clean(path, OPTIONS, yes=True, partial=True)
    clean(path, OPTIONS, yes=False, partial=True)
    assert "nothing to remove" in capsys.readouterr().out
    run(tmp_path, task).raise_for_failures()
    assert (tree((out / "m").resolve()), numbers(out)) == ({"a": b"2", "b": b"b"}, ["0001", "0002"])


def _fail(*_: Any, **__: Any) -> None:
    raise DiskError("cannot switch")
