"""What a load is: the work, the tools that do it, and what is wanted of kaiwo."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tests.bench.buckets import MIB, Bucket

GIB = 1024 * MIB
OF_S3 = ("s5cmd", "rclone", "boto3", "s3fs")
DEFAULTS = ("s5cmd-defaults", "rclone-defaults")
TOLD = ("s5cmd-told", "rclone-told", "awscrt")
MEASURES = {
    "peers": (*OF_S3, "hf"),
    "defaults": DEFAULTS,
    "told": (*DEFAULTS, *TOLD),
}
"""The best of these is a measure, for time and for CPU by itself; curl is the limit, no peer.

On lines as users have them, a command is measured twice: as it comes, and with the options that
serve it best there. AWS's adaptive client needs a program, so who uses it has looked for the best.
"""

KAIWO = ("kaiwo", "kaiwo-obstore", "kaiwo-fsspec")
ALL = (*KAIWO, *OF_S3, "curl")

ROUNDS = 5
"""Of a load that does not say how many."""


class Action(StrEnum):
    """What is asked for."""

    COPY = "copy"
    AGAIN = "again"
    """A second time, with everything in place already."""

    CACHE = "cache"
    """As `COPY`, into a cache of the Hub's."""

    LIST = "list"
    """The names that match `MATCHING`, and no bytes."""


MATCHING = "777.bin"
"""How the names end that a listing is asked for."""


@dataclass(frozen=True)
class Goal:
    """A number that a tool is to reach.

    Attributes:
        metric: wall_s, cpu_s or peak_mib.
        most: the goal, relative to `of`.
        of: a measure (the best of its tools), a tool, or nothing: then `most` is absolute.
        tool: whose number it is.
    """

    metric: str
    most: float
    of: str = ""
    tool: str = "kaiwo"


@dataclass(frozen=True)
class Load:
    """A row of the benchmark.

    Attributes:
        name: of the row.
        what: it is, in words.
        buckets: what is fetched.
        goals: of kaiwo.
        tools: who fetches it.
        told: the options of the tools that are told the best.
        action: what is done with the buckets.
        rounds: how often, unless `ROUNDS` times.
        asked: it runs only when it is asked for by name.
    """

    name: str
    what: str
    buckets: tuple[Bucket, ...]
    goals: tuple[Goal, ...]
    tools: tuple[str, ...] = ALL
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    action: Action = Action.COPY
    rounds: int | None = None
    asked: bool = False

    @property
    def size(self) -> int:
        """Of all its objects."""
        return sum(bucket.count * bucket.size for bucket in self.buckets)


def quick(load: Load) -> Load:
    """The same work with less to do, to see that everything works."""
    buckets = tuple(
        dataclasses.replace(
            bucket,
            count=max(bucket.count // 50, min(bucket.count, 20)),
            size=bucket.size // 64 if bucket.size > MIB else bucket.size,
        )
        for bucket in load.buckets
    )
    what = f"{load.what} (made small)"
    return dataclasses.replace(load, what=what, buckets=buckets, rounds=1)
