"""``--max-bandwidth``: what servers send in a second, from every provider by every engine.

``make trials`` has a faster line and stricter bounds, for which a machine has to be quiet.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from kaiwo import download
from kaiwo.objects import Report
from kaiwo.tasks.base import Engine
from tests.servers import web
from tests.support.command import Kaiwo, tree
from tests.support.quirks_pieces import PLACES
from tests.support.slow_lines import Line
from tests.support.stores import Store
from tests.support.trials_length import LONG

RATE, SECONDS = (20_000_000, 10.0) if LONG else (4_000_000, 1.5)
LARGE = random.Random(19).randbytes(int(SECONDS * RATE))
PIECE = 100_000
SMALL = {f"{at:09}": LARGE[at : at + PIECE] for at in range(0, len(LARGE), PIECE)}
#: A busy machine is slower; a server is ahead by what was asked for, a quarter of a second.
LEAST, MOST = (0.95, 1.05) if LONG else (0.1, 1.5)


def require_rate(line: Line) -> None:
    """What the server sent in a second is what the limit allows."""
    found = line.sent / line.seconds
    print(f"{found:,.0f} bytes a second of {RATE:,}")
    assert LEAST <= found / RATE <= MOST


def task_of(store: Store, bucket: str) -> dict[str, Any]:
    if store.type == "hf":
        return store.task(bucket, [], target_path="x")
    return store.task(bucket, [{"folder": "", "target_path": "x"}])


@pytest.mark.parametrize(("name", "engine"), [each for each in PLACES if each[0] != "web"])
def test_a_store_sends_as_many_bytes_a_second(
    name: str, engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store: Store = request.getfixturevalue(name)
    bucket = "limited/large" if name == "hub" else store.new_bucket()
    store.fill(bucket, {"large.bin": LARGE})
    line = Line()
    with line.before(store) as counted:
        config = {"download_root": f"{tmp_path}", "download_items": [task_of(counted, bucket)]}
        report = download(config, engine=engine, max_bandwidth=RATE)
    assert report.ok
    assert tree(tmp_path / "x") == {"large.bin": LARGE}
    require_rate(line)


def test_small_objects_count_as_well(s3: Store, engine: Engine, tmp_path: Path) -> None:
    line = Line()
    with line.before(s3) as counted:
        task = task_of(counted, s3.new_bucket(SMALL))
        config = {"download_root": f"{tmp_path}", "download_items": [task]}
        assert download(config, engine=engine, max_bandwidth=RATE).ok
    assert tree(tmp_path / "x") == SMALL
    require_rate(line)


@pytest.mark.parametrize("late_s", [0, 0.3])
def test_a_web_server_sends_as_many_bytes_a_second(late_s: float, tmp_path: Path) -> None:
    line = Line(late_s=late_s)
    page = web.Page(LARGE, {"ETag": '"an-etag-of-1"'})
    assert of_the_web(page, line, tmp_path).ok
    require_rate(line)


def test_a_stream_is_read_no_faster(tmp_path: Path) -> None:
    report = of_the_web(web.Page(LARGE, ranges=False), Line(), tmp_path)
    assert report.ok
    # What the server sends ahead waits in the kernel.
    assert report.seconds >= len(LARGE) / RATE / MOST


def of_the_web(page: web.Page, line: Line, root: Path) -> Report:
    """The report of a run that fetched a page by way of the line."""
    with web.site() as site:
        site.pages["/large.bin"] = page
        with line.before_server(site.at) as address:
            item = {"file": f"{address}/large.bin", "target_path": "x/large.bin"}
            task = {"type": "url", "items": [item]}
            config = {"download_root": f"{root}", "download_items": [task]}
            report = download(config, max_bandwidth=f"{RATE // 1_000_000}M")
    assert tree(root / "x") == {"large.bin": LARGE}
    return report


def test_the_option_and_its_faults(kaiwo: Kaiwo, s3: Store) -> None:
    task = task_of(s3, s3.new_bucket({"a": b"data"}))
    assert kaiwo({"download_items": [task]}, "--max-bandwidth", "1.5Gi").code == 0
    refused = kaiwo({"download_items": [task]}, "--max-bandwidth", "20Mbit")
    assert refused.code == 2
    assert "option --max-bandwidth: must be bytes a second, such as 200M or 1.5Gi" in refused.stderr
