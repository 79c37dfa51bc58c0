"""``prune`` and ``ready_file``: folders that are more than their files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import kaiwo
from kaiwo.api import upkeep
from kaiwo.api.orders import order_of
from kaiwo.api.run import decide
from kaiwo.config.loader import load
from kaiwo.errors import ConfigError, DiskError, UnsafeNameError
from kaiwo.files import documents
from kaiwo.reporting import plan_json, plan_text
from kaiwo.reporting.displays import QuietSink
from kaiwo.tasks.hub import HfTask
from tests.support import crashing
from tests.support.command import clean_environment, configured, tree
from tests.support.crashing import Death
from tests.support.proxies import counting
from tests.support.stores import Store
from tests.support.verified import verified

OBJECTS = {"m/a": b"a", "m/b": b"bb", "m/sub/c": b"ccc", "other/x": b"x"}
ITEM: dict[str, Any] = {"folder": "m", "target_path": "m", "prune": True, "ready_file": ".ready"}
Remove = Callable[..., None]
pytestmark = pytest.mark.usefixtures("loopback_only", "in_tmp_path")


@pytest.fixture
def bucket(s3: Store) -> str:
    return s3.new_bucket(OBJECTS)


@pytest.fixture
def remove(s3: Store, bucket: str) -> Iterator[Remove]:
    """Removes objects of the bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=s3.settings["endpoint_url"],
        aws_access_key_id=s3.settings["access_key_id"],
        aws_secret_access_key=s3.settings["secret_key"],
        region_name=s3.settings["region"],
    )

    def removing(*keys: str) -> None:
        for key in keys:
            client.delete_object(Bucket=bucket, Key=key)

    yield removing
    client.close()


def run(tmp_path: Path, task: dict[str, Any], **options: Any) -> kaiwo.Report:
    return kaiwo.download(configured(tmp_path, task), progress="none", **options)


def test_what_the_source_lacks_is_removed_and_nothing_else(
    s3: Store, bucket: str, remove: Remove, tmp_path: Path, out: Path
) -> None:
    other = {"folder": "other", "target_path": "m"}
    task = s3.task(bucket, [ITEM, other])
    run(tmp_path, task).raise_for_failures()
    (out / "m/mine").write_bytes(b"of the user")
    s3.fill(bucket, {"m/changed": b"one"})
    run(tmp_path, task).raise_for_failures()
    (out / "m/changed").write_bytes(b"two")
    remove("m/b", "m/sub/c", "m/changed", "other/x")
    s3.fill(bucket, {"other/y": b"y"})

    path = configured(tmp_path, task)
    decision = decide(order_of(load(path, {})), QuietSink())
    gone = [str(out / "m/b"), str(out / "m/sub/c")]
    assert [each.target for each in decision.stale] == gone
    shown = json.loads("\n".join(plan_json.lines(decision)))["removals"]
    assert [(each["target"], each["bytes"]) for each in shown] == [(gone[0], 2), (gone[1], 3)]
    assert "remove, once all is in place: 2 files" in "\n".join(plan_text.lines(decision, None))
    assert (out / "m/b").exists()

    run(tmp_path, task).raise_for_failures()
    left = {"a": b"a", "mine": b"of the user", "changed": b"two", "x": b"x", "y": b"y"}
    assert tree(out / "m") == left | {".ready": b""}
    # What is removed is not missed afterwards, and the ready file is not one too many.
    found = verified(path)
    assert [Path(item.target).name for item in found.report.items if item.error] == ["changed"]
    assert [Path(each).name for each in found.extra] == ["mine"]


def test_nothing_is_removed_after_a_failure_or_without_a_whole_listing(
    s3: Store, bucket: str, remove: Remove, tmp_path: Path, out: Path
) -> None:
    run(tmp_path, s3.task(bucket, [ITEM])).raise_for_failures()
    remove("m/b")
    missing = {"file": "not-there", "target_path": "n"}
    assert run(tmp_path, s3.task(bucket, [ITEM, missing])).exit_code == 4
    wrong = {"file": "m/a", "target_path": "n", "checksum": f"sha256:{'0' * 64}"}
    assert run(tmp_path, s3.task(bucket, [ITEM, wrong])).exit_code == 7
    assert (out / "m/b").read_bytes() == b"bb"
    # A folder that is empty now may be a mistake.
    remove("m/a", "m/sub/c")
    run(tmp_path, s3.task(bucket, [ITEM | {"allow_empty": True}])).raise_for_failures()
    # What the item does not select is not known to be gone.
    s3.fill(bucket, {"m/sub/d": b"d"})
    run(tmp_path, s3.task(bucket, [ITEM | {"glob": "sub/*"}])).raise_for_failures()
    assert set(tree(out / "m")) == {"a", "b", "sub/d", ".ready"}
    run(tmp_path, s3.task(bucket, [ITEM])).raise_for_failures()
    assert set(tree(out / "m")) == {"sub/d", ".ready"}


def test_what_another_run_published_meanwhile_stays(
    s3: Store,
    bucket: str,
    remove: Remove,
    tmp_path: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = s3.task(bucket, [ITEM])
    run(tmp_path, task).raise_for_failures()
    remove("m/b", "m/a")
    stale = upkeep.Upkeep.stale

    def late(self: upkeep.Upkeep, listing: Any) -> Any:
        # This run has listed; another one, from begin to end, finds objects that are new.
        found = stale(self, listing)
        monkeypatch.setattr(upkeep.Upkeep, "stale", stale)
        s3.fill(bucket, {"m/b": b"xx", "m/new": b"new"})
        (tmp_path / "two").mkdir()
        config = json.dumps({"download_root": str(out), "download_items": [task]})
        (tmp_path / "two/config.yaml").write_text(config)
        kaiwo.download(str(tmp_path / "two/config.yaml"), progress="none").raise_for_failures()
        return found

    monkeypatch.setattr(upkeep.Upkeep, "stale", late)
    run(tmp_path, task).raise_for_failures()
    assert tree(out / "m") == {"b": b"xx", "new": b"new", "sub/c": b"ccc", ".ready": b""}


def test_a_ready_file_is_there_only_while_all_is_in_place(
    s3: Store, bucket: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, task = out / "m/.ready", s3.task(bucket, [ITEM])
    seen: list[bool] = []
    real = upkeep.Upkeep.announce

    def announce(self: upkeep.Upkeep, *args: Any) -> None:
        seen.append(ready.exists())
        real(self, *args)
        seen.append(ready.exists())

    monkeypatch.setattr(upkeep.Upkeep, "announce", announce)
    run(tmp_path, task).raise_for_failures()
    written = ready.stat().st_mtime_ns
    run(tmp_path, task).raise_for_failures()  # unchanged: it is not touched
    assert ready.stat().st_mtime_ns == written
    s3.fill(bucket, {"m/a": b"new"})
    run(tmp_path, task).raise_for_failures()
    assert seen == [False, False, True, True, True, False]
    assert ready.exists()
    # Another item with the same ready file is not in place: neither is the folder.
    wrong = {"file": "m/a", "target_path": "m/z", "checksum": f"sha256:{'0' * 64}"}
    s3.fill(bucket, {"m/a": b"newer"})
    assert run(tmp_path, s3.task(bucket, [ITEM, wrong])).exit_code == 7
    assert not ready.exists()
    absent = ITEM | {"folder": "absent"}
    assert run(tmp_path, s3.task(bucket, [ITEM, absent])).exit_code == 4
    assert not ready.exists()


def test_a_run_that_is_locked_prunes_what_its_lock_lacks(
    s3: Store, bucket: str, remove: Remove, tmp_path: Path, out: Path
) -> None:
    task = s3.task(bucket, [ITEM])
    run(tmp_path, task).raise_for_failures()
    remove("m/b")
    run(tmp_path, s3.task(bucket, [ITEM | {"prune": False}]), write_lock=True)
    assert (out / "m/b").exists()
    with counting(s3) as proxy:
        run(tmp_path, proxy.stores[0].task(bucket, [ITEM])).raise_for_failures()
        s3.fill(bucket, {"m/b": b"bb"})
    run(tmp_path, task).raise_for_failures()
    assert (out / "m/b").exists()
    run(tmp_path, task, locked=True).raise_for_failures()
    assert set(tree(out / "m")) == {"a", "sub/c", ".ready"}


def test_a_repository_is_pruned_across_its_commits(hub: Store, tmp_path: Path, out: Path) -> None:
    hub.fill("upkeep/some", {"a": b"a", "b": b"b"})
    task = hub.task("upkeep/some", [], target_path="m", prune=True, ready_file="_SUCCESS")
    run(tmp_path, task).raise_for_failures()
    run(tmp_path, task | {"ignore_patterns": ["b"]}).raise_for_failures()
    assert tree(out / "m") == {"a": b"a", "b": b"b", "_SUCCESS": b""}
    (Path(hub.settings["root"]) / "models/upkeep--some/main/b").unlink()
    run(tmp_path, task).raise_for_failures()
    assert tree(out / "m") == {"a": b"a", "_SUCCESS": b""}


def test_what_cannot_be_is_refused(s3: Store, bucket: str, tmp_path: Path, out: Path) -> None:
    for item in ({"ready_file": "a/b"}, {"ready_file": ".kaiwo"}, {"allow_partial": True}):
        with pytest.raises(ConfigError):
            run(tmp_path, s3.task(bucket, [ITEM | item]))
    for fields in ({"prune": True}, {"prune": True, "target_path": "x", "files": ["a"]}):
        assert list(HfTask.model_construct(repo_id="a/b", **fields).contradictions())
    with pytest.raises(UnsafeNameError, match="path of a ready_file"):
        run(tmp_path, s3.task(bucket, [ITEM | {"ready_file": "a"}]))
    with pytest.raises(UnsafeNameError, match="path of a ready_file"):
        run(tmp_path, s3.task(bucket, [ITEM | {"ready_file": "sub"}]))
    assert not out.exists()


def test_a_folder_that_is_read_only_is_an_error(
    s3: Store,
    bucket: str,
    remove: Remove,
    tmp_path: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(tmp_path, s3.task(bucket, [ITEM])).raise_for_failures()
    remove("m/b")
    unlink = os.unlink

    def refusing(path: Any, **at: Any) -> None:
        if path in refused:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(path, **at)

    monkeypatch.setattr(os, "unlink", refusing)
    for refused in ("b",), (".ready",):
        with pytest.raises(DiskError, match=f"cannot remove .*{refused[0]}: Read-only"):
            run(tmp_path, s3.task(bucket, [ITEM]))
        assert (out / "m/b").exists()
        s3.fill(bucket, {"m/a": b"changed"})
        (out / "m/.ready").touch()
    assert (out / "m/a").read_bytes() == b"a"  # nothing changes while the folder says it is ready


def test_a_run_that_is_cut_short_leaves_no_ready_file(
    s3: Store, bucket: str, remove: Remove, tmp_path: Path, out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    task = s3.task(bucket, [ITEM])
    run(tmp_path, task).raise_for_failures()
    remove("m/b")
    for data, owner, name in (
        (b"one", upkeep.Upkeep, "finish"),  # before anything is removed
        (b"two", upkeep, "write_ready"),
        (b"four", documents, "replace"),
    ):
        s3.fill(bucket, {"m/a": data})

        def cut(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, cut)
            with pytest.raises(DiskError if name == "replace" else OSError):
                run(tmp_path, task)
        assert not (out / "m/.ready").exists()
        assert (out / "m/b").exists() == (name == "finish")
    run(tmp_path, task).raise_for_failures()
    assert tree(out / "m") == {"a": b"four", "sub/c": b"ccc", ".ready": b""}


def test_a_file_that_another_item_has_by_a_link_stays(
    s3: Store, bucket: str, remove: Remove, tmp_path: Path, out: Path
) -> None:
    (out / "real").mkdir(parents=True)
    (out / "m").mkdir()
    (out / "m/sub").symlink_to("../real")
    run(tmp_path, s3.task(bucket, [ITEM])).raise_for_failures()
    remove("m/sub/c")
    s3.fill(bucket, {"other/c": b"ccc"})
    other = {"folder": "other", "target_path": "real"}
    run(tmp_path, s3.task(bucket, [ITEM, other])).raise_for_failures()
    assert (out / "m/sub/c").read_bytes() == b"ccc"


def test_files_of_other_filesystems_are_pruned_too(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in "ab":
        (source / name).write_text(name)
    item = {"folder": f"file://{source}", "target_path": "m", "prune": True}
    task = {"type": "url", "items": [item]}
    run(tmp_path, task).raise_for_failures()
    (source / "b").unlink()
    run(tmp_path, task).raise_for_failures()
    assert tree(out / "m") == {"a": b"a"}


def test_a_run_that_is_killed_leaves_a_ready_file_beside_whole_sets_only(
    tmp_path: Path, out: Path
) -> None:
    source, begun = tmp_path / "source", tmp_path / "begun"
    source.mkdir()
    old = {"a": b"old a", "b": b"old b", "c": b"same"}
    new = {"a": b"new a!", "c": b"same", "d": b"new d"}
    for name, data in old.items():
        (source / name).write_bytes(data)
    item = ITEM | {"folder": f"file://{source}"}
    path = configured(tmp_path, {"type": "url", "items": [item]})
    kaiwo.download(path, progress="none").raise_for_failures()
    (source / "b").unlink()
    for name in "ad":
        (source / name).write_bytes(new[name])
    shutil.copytree(out, begun)
    environment, killed = clean_environment(tmp_path), 0
    with crashing.commands(environment) as run_:
        # While files are renamed, before the stale one goes, and before it is forgotten.
        for death in ("os.rename", 2), ("os.remove", 2), ("os.rename", 3):
            shutil.rmtree(out)
            shutil.copytree(begun, out)  # with the times of its files
            for step in (death[1], 0):
                order = crashing.Order(
                    (path,), environment, str(tmp_path), str(out), Death(step, among=death[0])
                )
                code = run_(order)
                killed += code == -signal.SIGKILL
                there = tree(out / "m")
                if there.pop(".ready", None) is not None:
                    assert there in (old, new), death
            assert (code, there, (out / "m/.ready").exists()) == (0, new, True)
    assert killed == 3
