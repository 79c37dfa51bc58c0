"""The loads on lines as users have them: a wait before each answer, a limit for each connection.

Each peer runs twice: with its defaults, and told what serves it best on that line. The options were
found by trying; a quarter of an hour with a tool's documents finds them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tests.bench.buckets import Bucket
from tests.bench.load import DEFAULTS, GIB, TOLD, Goal, Load


def _on_a_line(
    name: str,
    what: str,
    bucket: Bucket,
    most: tuple[float, float | None],
    told: Mapping[str, tuple[str, ...]],
) -> Load:
    """A load on a line as users have it: 30 ms to the first byte of each answer.

    Args:
        name: of the row.
        what: it is.
        bucket: what is fetched.
        most: the goals for the time: of the best peer at its defaults, and told the best.
        told: by the tool.
    """
    limits = zip(("defaults", "told"), most, strict=True)
    goals = tuple(Goal("wall_s", limit, of) for of, limit in limits if limit is not None)
    tools: tuple[str, ...] = ("kaiwo", "kaiwo-fsspec", *DEFAULTS, *TOLD)
    if bucket.count == 1:
        tools += ("boto3",)  # for comparison; its loop has no defaults for many objects
    bucket = dataclasses.replace(bucket, late_ms=30)
    rounds = 3 if bucket.count * bucket.size > 2 * GIB else None
    return Load(name, f"{what}, 30 ms late", (bucket,), goals, tools, told, rounds=rounds)


_ONE_TOLD = {
    "s5cmd-told": ("--concurrency=64", "--part-size=8"),
    # with its chunks of 64 MiB, an object of 1 GiB has 16 streams at most
    "rclone-told": ("--multi-thread-streams=64", "--multi-thread-chunk-size=16M"),
}
_SMALL_TOLD = {
    "s5cmd-told": ("--numworkers=512",),
    "rclone-told": ("--transfers=256", "--checkers=64"),
}

ON_LINES = (
    _on_a_line(
        "wan-25",
        "1 object of 1 GiB, 25 MB/s a connection",
        Bucket("wan-25", 1, GIB, rate=25_000_000),
        (0.35, 1.8),
        _ONE_TOLD,
    ),
    _on_a_line(
        "wan-60",
        "1 object of 1 GiB, 60 MB/s a connection",
        Bucket("wan-60", 1, GIB, rate=60_000_000),
        (0.6, 1.8),
        _ONE_TOLD,
    ),
    _on_a_line(
        "wan-small",
        "4,000 objects of 10 kB",
        Bucket("wan-small", 4_000, 10_000),
        (1.0, 1.1),
        _SMALL_TOLD,
    ),
    _on_a_line(
        "wan-small-2000",
        "2,000 objects of 10 kB",
        Bucket("wan-small-2000", 2_000, 10_000),
        (1.4, None),
        _SMALL_TOLD,
    ),
    _on_a_line(
        "wan-many",
        "20 objects of 200 MB, 25 MB/s a connection",
        Bucket("wan-many", 20, 200_000_000, rate=25_000_000),
        (1.1, 1.3),
        {
            "s5cmd-told": ("--concurrency=16", "--part-size=16"),
            # without the cutoff, each of these objects has one stream
            "rclone-told": (
                "--transfers=20",
                "--multi-thread-streams=8",
                "--multi-thread-cutoff=16M",
                "--multi-thread-chunk-size=16M",
            ),
        },
    ),
    Load(
        "two-at-once",
        "2 objects of 25 MB, 5 MB/s a connection, a third one is answered 503",
        (Bucket("two-at-once", 2, 25_000_000, rate=5_000_000, at_once=2),),
        (Goal("wall_s", 1.3, "wget"),),
        ("kaiwo", "kaiwo-fsspec", "wget", "s5cmd-defaults", "rclone-defaults"),
        rounds=3,
    ),
)
