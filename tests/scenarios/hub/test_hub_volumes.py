"""The Hub's cache on volumes of all kinds: without links, without symbolic links, read-only."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from tests import servers
from tests.scenarios.hub.test_hub_cache import FETCHES, found
from tests.support import stores
from tests.support.command import Run, clean_environment, downloading
from tests.support.hubs import Hub
from tests.support.volumes import volume

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
def run(hub: Hub, tmp_path: Path) -> Callable[..., Run]:
    """Runs the command on a repository, with this folder as the cache."""

    def run(
        cache: Path,
        repository: str,
        inside: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Run:
        task = hub.store.task(repository, (), cache_dir=str(cache))
        text = yaml.safe_dump({"download_items": [task]})
        return downloading(text, tmp_path, inside=inside, env=env)

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
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    hub.fill("acme/plainly", FILES)
    for number in range(2):
        done = run(cache, "acme/plainly", env={"HF_HUB_DISABLE_SYMLINKS": "1"})
        assert done.code == 0, done.stderr
        assert done.report["unchanged"] == number * len(FILES)
    snapshot = snapshot_of(cache, "plainly")
    assert {name: (snapshot / name).read_bytes() for name in FILES} == FILES
    assert not any((snapshot / name).is_symlink() for name in FILES)
    # A later run that may make links finds everything in place.
    later = run(cache, "acme/plainly")
    assert (later.code, later.report["unchanged"]) == (0, len(FILES)), later.stderr


# --- read-only ------------------------------------------------------------------------------------


def test_a_complete_cache_that_is_mounted_read_only_is_enough(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    hub.fill("acme/mounted", FILES)
    with volume(tmp_path / "v", "size=64m") as disk:
        address = hub.store.settings["endpoint_url"]
        words = [*disk.inside, sys.executable, "-c", FETCHES]
        subprocess.run(
            [*words, str(disk.folder), "acme/mounted", address],
            env=clean_environment(tmp_path),
            check=True,
            capture_output=True,
        )
        disk.remount("ro")
        hub.ask("reset")
        done = run(disk.folder, "acme/mounted", inside=disk.inside)
        assert (done.code, done.report["unchanged"]) == (0, len(FILES)), done.stderr
        assert hub.counts() == {"revision": 1, "tree": 1}
        assert "WARNING" not in done.stderr
        # Something to write is refused before a byte is read, with the way out.
        hub.fill("acme/mounted", {"new.bin": b"new"})
        lacking = run(disk.folder, "acme/mounted", inside=disk.inside)
        assert lacking.code == 6, lacking.stderr
        assert "set HF_HOME or cache_dir to a writable folder" in lacking.stderr
        assert "resolve" not in hub.counts()


def test_kaiwos_own_cache_is_enough_when_it_is_mounted_read_only(
    run: Callable[..., Run], hub: Hub, tmp_path: Path
) -> None:
    hub.fill("acme/own", FILES)
    with volume(tmp_path / "v", "size=64m") as disk:
        assert run(disk.folder, "acme/own", inside=disk.inside).code == 0
        disk.remount("ro")
        done = run(disk.folder, "acme/own", inside=disk.inside)
        assert (done.code, done.report["unchanged"]) == (0, len(FILES)), done.stderr
        assert "WARNING" not in done.stderr
