"""Several commits of one repository in one cache: shared blobs, branches that move."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.hub.test_hub_cache import found
from tests.support import stores
from tests.support.command import Kaiwo, Run
from tests.support.hubs import Hub, downloaded

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
