"""Targets on mounts of object stores: no write at an offset, no writing to files that exist."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaiwo.tasks.base import Engine
from tests import servers
from tests.support.command import Kaiwo, tree
from tests.support.stores import Store

OBJECTS = {
    "small": b"data",
    "empty/at all": b"",
    "medium": random.Random(1).randbytes(3 << 20),
    "d/large": random.Random(2).randbytes(25 << 20),
    "d/other": random.Random(3).randbytes(17 << 20),
}
ALL = [{"folder": "", "target_path": "."}]


@pytest.fixture(
    params=[(), ("existing",), ("existing", "both", "no-times")],
    ids=["offsets", "existing", "existing-both-times"],
)
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on such a file system; skipped where nobody may mount."""
    backing, folder = tmp_path / "backing", tmp_path / "out"
    backing.mkdir()
    folder.mkdir()
    try:
        with servers.start("sequential_mount", str(backing), str(folder), *request.param):
            yield folder
    except servers.ServerFailed as error:
        pytest.skip(str(error))


def test_all_files_arrive_and_a_second_run_has_nothing_to_do(
    kaiwo: Kaiwo, s3: Store, engine: Engine, mount: Path
) -> None:
    bucket = s3.new_bucket(OBJECTS)
    config = {"download_items": [s3.task(bucket, ALL)]}
    done = kaiwo(config, "--engine", engine)
    assert done.code == 0, done.stderr
    assert tree(mount) == OBJECTS
    assert "give this user the right" not in done.stderr
    again = kaiwo(config, "--engine", engine)
    assert (again.code, again.report["unchanged"]) == (0, len(OBJECTS)), again.stderr
    assert "to check" not in again.stderr
    s3.fill(bucket, {"d/large": OBJECTS["d/other"], "new": b"new"})
    third = kaiwo(config, "--engine", engine)
    assert (third.code, third.report["downloaded"]) == (0, 2), third.stderr
    assert tree(mount) == {**OBJECTS, "d/large": OBJECTS["d/other"], "new": b"new"}
    fourth = kaiwo(config, "--engine", engine)
    assert (fourth.code, fourth.report["unchanged"]) == (0, len(OBJECTS) + 1), fourth.stderr
    assert "to check" not in fourth.stderr
    assert not [path.name for path in mount.rglob("*") if path.name.endswith(".part")]


@pytest.mark.parametrize("of", ["gcs", "azure"])
def test_so_do_those_of_other_stores(
    kaiwo: Kaiwo, of: str, mount: Path, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(of)
    done = kaiwo({"download_items": [store.task(store.new_bucket(OBJECTS), ALL)]})
    assert done.code == 0, done.stderr
    assert tree(mount) == OBJECTS
