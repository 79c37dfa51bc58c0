"""Several processes carry out one plan: each its part, and the last one checks the whole."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api.report import Report
from tests.support.command import tree
from tests.support.stores import Store

MIB = 1 << 20
LARGE = random.Random(23).randbytes(24 * MIB - 1000)
SMALL = {f"d/{number:02}": random.Random(number).randbytes(MIB // 4) for number in range(12)}
OBJECTS = {**SMALL, "d/large": LARGE}


@pytest.fixture(autouse=True)
def _elsewhere(loopback_only: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("JOB_COMPLETION_INDEX", "KAIWO_SHARDS"):
        monkeypatch.delenv(name, raising=False)


class Shards:
    """The shards of one configuration, one after the other in this process."""

    def __init__(self, store: Store, root: Path, objects: Mapping[str, bytes]) -> None:
        self.store, self.root = store, root
        self.objects = dict(objects)
        self.bucket = store.new_bucket(objects)
        items = [{"folder": "d", "target_path": "."}]
        self.config: dict[str, Any] = {"download_items": [store.task(self.bucket, items)]}

    def run(self, shard: str, **options: Any) -> Report:
        return kaiwo.download(
            self.config, progress="none", download_root=str(self.root), shard=shard, **options
        )

    @property
    def there(self) -> dict[str, bytes]:
        return {name: data for name, data in tree(self.root).items() if ".kaiwo" not in name}

    def assert_whole(self) -> None:
        expected = {name.removeprefix("d/"): data for name, data in self.objects.items()}
        assert self.there == expected


@pytest.fixture
def shards(s3: Store, tmp_path: Path) -> Shards:
    return Shards(s3, tmp_path / "root", OBJECTS)


def checked(report: Report) -> bool:
    found: bool = report.to_dict()["shard"]["union_checked"]
    return found


def test_each_fetches_a_third_and_the_last_one_checks_the_whole(shards: Shards) -> None:
    reports = [shards.run(f"{index}/3") for index in (1, 0, 2)]
    assert [each.exit_code for each in reports] == [0, 0, 0]
    third = sum(map(len, OBJECTS.values())) / 3
    for each in reports:
        assert each.transferred_bytes == pytest.approx(third, rel=0.1)
        assert sum(item.bytes for item in each.items) == each.transferred_bytes
    assert [checked(each) for each in reports] == [False, False, True]
    shards.assert_whole()
