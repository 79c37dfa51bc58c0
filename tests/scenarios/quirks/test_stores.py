"""Stores that behave unusually: the right files arrive, or the right exit code says why not.

The behaviours are those of docs/reliability.md, where other tools meet them, too.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kaiwo
from kaiwo.objects import Report
from kaiwo.tasks.base import Engine
from tests.faults.behaviour import Behaviour
from tests.faults.page import section
from tests.faults.store_runs import Served, Verdict, served
from tests.faults.stores import MORE_STORES, STORES
from tests.support.stores import Store


def fetch(place: Served, folder: Path, engine: Engine) -> Report:
    task = place.store.task(place.bucket, [{"folder": "", "target_path": "."}])
    config = {"download_root": str(folder), "download_items": [task]}
    return kaiwo.download(config, engine=engine)


@pytest.mark.parametrize("behaviour", STORES + MORE_STORES, ids=lambda each: each.name)
def test_the_right_files_arrive_and_a_second_run_reads_nothing(
    s3: Store, tmp_path: Path, engine: Engine, behaviour: Behaviour
) -> None:
    out = tmp_path / "out"
    with served(s3, behaviour) as place:
        report = fetch(place, out, engine)
        first = Verdict.of(behaviour, report.exit_code, out)
        if report.ok:
            place.replace()
            report = fetch(place, out, engine)
    last = Verdict.of(behaviour, report.exit_code, out)
    assert last.is_right, (last, report.items)
    if report.ok and not behaviour.on_the_way:
        # Before anything is replaced, other bytes are those of the first version.
        assert first.is_right or behaviour.replaced, first
        assert report.count("downloaded") == len(behaviour.replaced), report.items
        assert report.transferred_bytes == sum(map(len, behaviour.replaced.values()))


def test_the_page_shows_each_behaviour() -> None:
    rows = re.findall(r"^\| (.+?) \| ", section("stores"), flags=re.MULTILINE)
    assert rows[2:] == [each.title for each in STORES], "make faults"


def test_the_page_shows_what_the_tests_hold_kaiwo_to() -> None:
    rows = [line.split(" | ") for line in section("stores").splitlines() if line.startswith("| ")]
    for behaviour, row in zip(STORES, rows[2:], strict=True):
        word = f"error: exit {behaviour.code}" if behaviour.code else "right"
        assert row[1:3] == [word, word], behaviour.name
