"""Faults of the store and the network: the right bytes arrive, with few requests more.

The faults are those of docs/reliability.md, where other tools meet them, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kaiwo.jobs import RANGE
from kaiwo.tasks.base import Engine
from tests.faults.catalogue import CASES, MORE, Case, objects
from tests.servers.faulty_s3 import (
    BUCKET,
    Counts,
    FaultyS3,
    Get,
    Plan,
    Span,
    faulty_s3,
    for_seconds,
    refuse,
    replacement,
)
from tests.servers.tcp_proxy import Failure, tcp_proxy
from tests.support.command import Kaiwo, tree
from tests.support.faulty import content
from tests.support.stores import Store
from tests.support.trials_length import LONG, spread_over_places

DEFAULT_WORKERS = 8
#: Of one of these, one request is the victim, and that one alone is repeated.
REPEATED_ALONE = {"reset", "short", "500", "503", "429", "stall", "wrong-range", "down", "listing"}
#: How many bytes of answers the first connections carry before they fail.
CUTS = (0, 60, 20_000, 300_000, 700, 20_000, 2_000_000, 300_000, 20_000, 5_000_000)
#: More than the answer to a listing: a connection that carried this much carried an object.
OF_AN_OBJECT = 20_000


def spans(key: str, size: int) -> list[Span]:
    """What kaiwo asks for to have this object."""
    if size <= RANGE:
        return [(key, 0, size)]
    return [(key, start, min(start + RANGE, size)) for start in range(0, size, RANGE)]


def planned(stored: Mapping[str, bytes]) -> Counter[Span]:
    """Every request for bytes that a run without faults makes."""
    return Counter(span for key, data in stored.items() for span in spans(key, len(data)))


def in_full(span: Span) -> Span:
    """The range that this is the rest of."""
    key, start, end = span
    return key, start - start % RANGE, end


def config(server: FaultyS3) -> dict[str, Any]:
    bucket = {"name": BUCKET, "items": [{"folder": "", "target_path": "."}]}
    return {"download_items": [{"type": "s3", **server.settings(), "buckets": [bucket]}]}


def others(
    found: Mapping[str, bytes], stored: Mapping[str, bytes], replaced: Collection[str]
) -> list[str]:
    """The files that hold neither their object nor, wholly, what replaced it."""
    return [
        key
        for key, data in stored.items()
        if found[key] != data and not (key in replaced and found[key] == replacement(data))
    ]


def most_gets(case: Case, counts: Counts, stored: Mapping[str, bytes]) -> int:
    """How many requests for bytes are enough where not only the victim is repeated."""
    wanted = planned(stored)
    if case.name in {"no-ranges", "unsized"}:
        # What each worker asked for first came wrong, by the fast engine and by the other.
        return wanted.total() + 2 * DEFAULT_WORKERS
    ranged = [key for key, start, end in wanted if (start, end) != (0, len(stored[key]))]
    if case.name == "wrong-ranges":
        # Each range is tried three times, and then there is a stream for each object.
        return wanted.total() + 2 * len(ranged) + len(set(ranged))
    # The whole object once more; and where bytes differ, what differs is looked at again.
    hit = Counter(get.key for get in counts.replaced or counts.spoilt)
    return wanted.total() + sum(2 * count * max(1, ranged.count(key)) for key, count in hit.items())


@pytest.mark.parametrize("case", CASES + MORE, ids=lambda case: case.name)
def test_a_fault_costs_the_requests_that_it_hit_and_no_bytes(
    kaiwo: Kaiwo, tmp_path: Path, engine: Engine, case: Case
) -> None:
    stored = objects()
    with faulty_s3(stored, case.plan) as server:
        done = kaiwo(config(server), "--engine", engine, *case.options.get("kaiwo", ()))
    counts = server.counts
    assert done.code == 0, done.stderr
    found = tree(tmp_path / "out")
    replaced = {get.key for get in counts.replaced}
    assert found.keys() == stored.keys()
    assert others(found, stored, replaced) == []
    happened = bool(counts.spoilt or replaced or case.plan.failing_listings or case.plan.down_s)
    assert happened, "nothing went wrong"
    if case.name in REPEATED_ALONE:
        # What had arrived is not asked for again.
        asked = Counter(map(in_full, counts.ranges.elements()))
        assert asked == planned(stored) + Counter(in_full(get.span) for get in counts.spoilt)
    else:
        assert counts.gets <= most_gets(case, counts, stored)
    assert done.report["downloaded"] == len(stored)


def test_of_many_objects_that_are_replaced_on_the_way_none_is_a_mixture(
    kaiwo: Kaiwo, tmp_path: Path, engine: Engine
) -> None:
    # All hold the same bytes, so that they cost neither time nor memory; two ranges each.
    data = content(RANGE + 1000)
    stored = {f"{number:02}.bin": data for number in range(20)}
    replaced = 0

    def after_the_first_or_second(get: Get) -> bool:
        return get.object.version == 0 and get.key_number == 1 + int(get.key[:2]) % 2

    rounds = 5 if LONG else 1
    for _ in range(rounds):
        with faulty_s3(stored, Plan(replaces=after_the_first_or_second)) as server:
            done = kaiwo(config(server), "--engine", engine, "--force")
        replaced += len(server.counts.replaced)
        assert done.code == 0, done.stderr
        found = tree(tmp_path / "out")
        assert found.keys() == stored.keys()
        assert others(found, stored, stored) == []
    assert replaced == rounds * len(stored)


@pytest.mark.parametrize("often", [1, 2, 3])
def test_pages_that_are_no_listings_do_not_end_the_listing(
    kaiwo: Kaiwo, tmp_path: Path, engine: Engine, often: int
) -> None:
    # The last of them is a folder's placeholder, which may look like another key.
    stored = {f"a/{number:04}": b"bytes" for number in range(1_100)} | {"z-1": b"bytes", "z/": b""}
    with faulty_s3(stored, Plan(no_listing=range(2, 2 + often)), page_size=1_000) as server:
        done = kaiwo(config(server), "--engine", engine)
    assert done.code == 0, done.stderr
    del stored["z/"]
    assert tree(tmp_path / "out") == stored
    assert server.counts.listings >= 3, "nothing was asked for twice"


@pytest.mark.parametrize("keys", [30, 1_100])
def test_a_service_that_names_no_token_is_listed_by_markers(
    kaiwo: Kaiwo, tmp_path: Path, engine: Engine, keys: int
) -> None:
    stored = {f"a/{number:04}": b"bytes" for number in range(keys)}
    with faulty_s3(stored, Plan(following="marker"), page_size=keys // 3) as server:
        done = kaiwo(config(server), "--engine", engine)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == stored


def test_each_page_of_a_listing_has_its_own_repeats(
    kaiwo: Kaiwo, tmp_path: Path, engine: Engine
) -> None:
    stored = {f"a/{number:04}": b"bytes" for number in range(800)}
    with faulty_s3(stored, Plan(flaky_pages=True), page_size=100) as server:
        done = kaiwo(config(server), "--engine", engine, "--retries", "2")
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == stored
    # Each place is asked for twice, and each attempt looks for slashes, too.
    assert server.counts.listings <= 9 * 6, "it began anew"


@pytest.mark.parametrize("size", [5, RANGE + 5], ids=["small", "large"])
def test_a_folders_placeholder_is_left_out_though_it_has_bytes(
    kaiwo: Kaiwo, tmp_path: Path, engine: Engine, size: int
) -> None:
    stored = {
        "alone/": b"x" * size,
        "both": b"file",
        "both/": b"placeholder",
        "c/": b"p",
        "c/d": b"",
    }
    with faulty_s3(stored) as server:
        done = kaiwo(config(server), "--engine", engine)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == {"both": b"file", "c/d": b""}
    assert {item["source"][12:] for item in done.report["items"]} == {"both", "c/d"}


@pytest.mark.parametrize("sizes", [(1_000,) * 30, (3 * RANGE,)], ids=["small", "large"])
def test_a_service_is_left_alone_for_as_long_as_it_says(
    kaiwo: Kaiwo, tmp_path: Path, engine: Engine, sizes: tuple[int, ...]
) -> None:
    stored = {f"{number:02}": content(size, number) for number, size in enumerate(sizes)}
    plan = Plan(refuse(503, "SlowDown", {"Retry-After": "2"}), for_seconds(1.5))
    with faulty_s3(stored, plan) as server:
        done = kaiwo(config(server), "--engine", engine, "--retries", "1")
    assert done.code == 0, done.stderr
    assert others(tree(tmp_path / "out"), stored, ()) == []
    assert server.counts.spoilt


def test_pages_that_lead_back_to_one_before_end_as_a_failure(
    kaiwo: Kaiwo, tmp_path: Path, engine: Engine
) -> None:
    stored = {f"a/{number:04}": b"bytes" for number in range(100)}
    with faulty_s3(stored, Plan(following="circle")) as server:
        done = kaiwo(config(server), "--engine", engine, "--retries", "1")
    assert done.code == 5
    assert f"listing s3://faults/ at {server.url}: a page leads back to one before" in done.stderr
    assert not (tmp_path / "out").exists() or tree(tmp_path / "out") == {}


@spread_over_places(("failure",), [("reset",), ("cut",), ("stall",)])
def test_connections_that_fail_at_any_byte_are_made_again(
    kaiwo: Kaiwo, tmp_path: Path, store: Store, engine: Engine, failure: Failure
) -> None:
    stored = {f"large-{number}": content(RANGE + 1_000_000, number) for number in range(2)}
    stored |= {f"small-{number}": content(50_000, number) for number in range(8)}
    bucket = store.new_bucket(stored)
    address = urlsplit(store.settings["endpoint_url"]).netloc
    with tcp_proxy(address, failure, CUTS) as proxy:
        fields = {
            name: value.replace(address, proxy.address) if isinstance(value, str) else value
            for name, value in store.fields.items()
        }
        by_way = replace(store, fields=fields)
        task = by_way.task(bucket, [{"folder": "", "target_path": "."}])
        options = ("--engine", engine, "--stall-timeout", "1")
        done = kaiwo({"download_items": [task]}, *options)
    assert done.code == 0, done.stderr
    assert tree(tmp_path / "out") == stored
    assert len(proxy.failed) >= 3
    assert max(proxy.failed) >= OF_AN_OBJECT, "no object's bytes were cut"
