"""Several commits of one repository in one cache: shared blobs, branches that move."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scenarios.hub.test_hub_cache import found
from tests.support import stores
from tests.support.command import Kaiwo, Run, clean_environment
from tests.support.hubs import Hub, downloaded
from tests.support.waiting import wait_until

LARGE = random.Random(12).randbytes(10 << 20)
FIRST = {"model.bin": LARGE, "again/model.bin": LARGE, "config.json": b"{}", "gone.txt": b"gone"}
SECOND = {"model.bin": LARGE, "config.json": b'{"v": 2}', "new/model.bin": LARGE}
KINDS: Mapping[str, Mapping[str, str]] = {
    "links": {},
    "files": {"HF_HUB_DISABLE_SYMLINKS": "1"},
}


@pytest.fixture(scope="module")
def one_hub() -> Iterator[Hub]:
    with stores.hub() as store:
        yield Hub(store)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "hub"


@pytest.fixture
def run(kaiwo: Kaiwo, hub: Hub, cache: Path) -> Callable[..., Run]:
    home = {"HF_HOME": str(cache.parent)}

    def run(repository: str, env: Mapping[str, str], **fields: Any) -> Run:
        return downloaded(kaiwo, hub.store, repository, env=home | dict(env), **fields)

    return run


def files_of(snapshot: Path) -> dict[str, bytes]:
    files = (path for path in snapshot.rglob("*") if path.is_file())
    return {path.relative_to(snapshot).as_posix(): path.read_bytes() for path in files}


def move(hub: Hub, repository: str) -> None:
    """Let the branch have the second commit."""
    hub.fill(repository, SECOND)
    folder = Path(hub.store.settings["root"], "models", repository.replace("/", "--"), "main")
    for name in FIRST.keys() - SECOND.keys():
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("first", "second"), [("links", "links"), ("links", "files"), ("files", "links")]
)
def test_a_branch_that_moved_has_its_snapshot_and_the_older_one_stays(
    run: Callable[..., Run], hub: Hub, cache: Path, first: str, second: str
) -> None:
    repository = f"acme/moved-{first}-{second}"
    storage = cache / f"models--acme--moved-{first}-{second}"
    hub.fill(repository, FIRST)
    assert run(repository, env=KINDS[first]).code == 0
    old = (storage / "refs" / "main").read_text()
    before = {path: os.stat(path) for path in (storage / "snapshots" / old).rglob("*")}
    move(hub, repository)
    done = run(repository, env=KINDS[second])
    assert done.code == 0, done.stderr
    assert done.report["downloaded"] == 1
    new = (storage / "refs" / "main").read_text()
    assert new != old
    assert files_of(storage / "snapshots" / new) == SECOND
    assert files_of(storage / "snapshots" / old) == FIRST
    for path, status in before.items():
        assert os.path.samestat(os.stat(path), status), path
    assert found(cache, repository, "model", "main", *SECOND)["warnings"] == []
    assert found(cache, repository, "model", old, *FIRST)["warnings"] == []
    again = run(repository, env=KINDS[second])
    assert (again.code, again.report["unchanged"]) == (0, len(SECOND))
    # The older one is still there by its commit, and the branch stays where it is.
    older = run(repository, revision=old, env=KINDS[second])
    assert (older.code, older.report["unchanged"]) == (0, len(FIRST)), older.stderr
    assert (storage / "refs" / "main").read_text() == new
    assert not list(storage.rglob(".kaiwo-*"))


def test_runs_and_the_hubs_own_command_fill_one_cache_at_once(hub: Hub, tmp_path: Path) -> None:
    """Two commits that share blobs; one of the runs is killed, and started again."""
    repository, cache = "acme/at-once", tmp_path / "hf" / "hub"
    hub.fill(repository, FIRST)
    hub.fill(repository, SECOND, revision="v2")
    env = clean_environment(tmp_path) | {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.store.settings["endpoint_url"],
    }
    begun: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{len(begun)}.log").open("wb") as log:
            begun.append(subprocess.Popen(words, env=env, cwd=tmp_path, stdout=log, stderr=log))
        return begun[-1]

    def start_run(revision: str) -> subprocess.Popen[bytes]:
        config = tmp_path / f"{revision}.yaml"
        task = hub.store.task(repository, (), revision=revision)
        config.write_text(yaml.safe_dump({"download_items": [task]}))
        return start(sys.executable, "-m", "kaiwo.downloader", str(config))

    try:
        killed = start_run("main")
        others = [start_run("main"), start_run("v2")]
        others.append(start(str(Path(sys.executable).with_name("hf")), "download", repository))
        wait_until(lambda: list(cache.rglob(".kaiwo-*.part")) or killed.poll() is not None)
        killed.kill()
        killed.wait()
        others.append(start_run("main"))
        codes = [each.wait(60) for each in others]
    finally:
        for each in begun:
            each.kill()
            each.wait()
    said = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert codes == [0] * 4, said
    storage = cache / "models--acme--at-once"
    for revision, files in (("main", FIRST), ("v2", SECOND)):
        snapshot = storage / "snapshots" / (storage / "refs" / revision).read_text()
        assert files_of(snapshot) == files
        assert found(cache, repository, "model", revision, *files)["warnings"] == []
    assert not list(storage.rglob(".kaiwo-*"))
