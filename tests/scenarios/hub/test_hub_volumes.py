"""The Hub's cache on volumes of all kinds: without links, without symbolic links, read-only."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.scenarios.hub.test_hub_cache import found
from tests.support import stores
from tests.support.command import Kaiwo, Run
from tests.support.hubs import Hub, downloaded

LARGE = random.Random(12).randbytes(10 << 20)
FILES = {
    "large.bin": LARGE,
    "again/large.bin": LARGE,
    "small.bin": b"x" * 1000,
    "sub/small.bin": b"x" * 1000,
}
SIZES = {name: len(data) for name, data in FILES.items()}


@pytest.fixture(scope="module")
def one_hub() -> Iterator[Hub]:
    with stores.hub() as store:
        yield Hub(store)


@pytest.fixture
def run(kaiwo: Kaiwo, hub: Hub) -> Callable[..., Run]:
    def run(cache: Path, repository: str, *options: str, **fields: Any) -> Run:
        fields["cache_dir"] = str(cache)
        return downloaded(kaiwo, hub.store, repository, *options, **fields)

    return run


def snapshot_of(cache: Path, name: str) -> Path:
    (snapshot,) = (cache / f"models--acme--{name}" / "snapshots").iterdir()
    return snapshot


def test_a_volume_that_knows_no_links_holds_files(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    backing, cache = tmp_path / "backing", tmp_path / "cache"
    backing.mkdir()
    cache.mkdir()
    hub.fill("acme/linkless", FILES)
    try:
        with servers.start("sequential_mount", str(backing), str(cache)):
            for number in range(2):
                done = run(cache, "acme/linkless")
                assert done.code == 0, done.stderr
                assert done.report["unchanged"] == number * len(FILES)
            assert found(cache, "acme/linkless", "model", "main", *FILES)["files"] == SIZES
    except servers.ServerFailed as error:
        pytest.skip(str(error))
    snapshot = snapshot_of(backing, "linkless")
    assert {name: (snapshot / name).read_bytes() for name in FILES} == FILES
    assert not any((snapshot / name).is_symlink() for name in FILES)


def test_files_instead_of_symbolic_links_where_the_variable_says_so(
    kaiwo: Kaiwo, run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    hub.fill("acme/plainly", FILES)
    task = hub.store.task("acme/plainly", (), cache_dir=str(cache))
    for number in range(2):
        done = kaiwo({"download_items": [task]}, env={"HF_HUB_DISABLE_SYMLINKS": "1"})
        assert done.code == 0, done.stderr
        assert done.report["unchanged"] == number * len(FILES)
    snapshot = snapshot_of(cache, "plainly")
    assert {name: (snapshot / name).read_bytes() for name in FILES} == FILES
    assert not any((snapshot / name).is_symlink() for name in FILES)
    # A later run that may make links finds everything in place.
    later = run(cache, "acme/plainly")
    assert (later.code, later.report["unchanged"]) == (0, len(FILES)), later.stderr
