"""What the tools have to do, and what is wanted of kaiwo: data."""

from __future__ import annotations

from tests.bench.buckets import Bucket
from tests.bench.line_loads import ON_LINES
from tests.bench.load import GIB, KAIWO, OF_S3, Action, Goal, Load


def _goals(wall: float, cpu: float | None = None, of: str = "peers") -> tuple[Goal, ...]:
    """For the time, and for the CPU."""
    goals = (Goal("wall_s", wall, of),)
    return goals if cpu is None else (*goals, Goal("cpu_s", cpu, of))


def _peak(most_mib: float, *tools: str) -> tuple[Goal, ...]:
    return tuple(Goal("peak_mib", most_mib, tool=tool) for tool in tools)


_HUB = "a repository of the Hub: 1 file of 400 MB, 32 of 10 kB"


def _in_hub(rate: int = 0) -> tuple[Bucket, ...]:
    """The folders of a repository."""
    large = Bucket("hub-large", 1, 400_000_000, rate=rate, in_hub=True)
    return large, Bucket("hub-small", 32, 10_000, in_hub=True)


LOADS = (
    *ON_LINES,
    Load(
        "late",
        "2,000 objects of 10 kB, each response 30 ms late",
        (Bucket("late", 2_000, 10_000, late_ms=30),),
        _goals(1.1, 1.1),
    ),
    Load(
        "limited",
        "1 object of 1 GiB, 30 ms late, 60 MB/s a connection",
        (Bucket("limited", 1, GIB, late_ms=30, rate=60_000_000),),
        _goals(0.7),
        # curl has one connection: no limit of what a client could do
        tools=(*KAIWO, *OF_S3),
        rounds=3,
    ),
    Load(
        "large",
        "1 object of 2 GiB",
        (Bucket("large", 1, 2 * GIB),),
        (*_goals(1.1, 1.3), *_peak(256, "kaiwo-obstore", "kaiwo-fsspec")),
    ),
    Load(
        "large-md5",
        "1 object of 2 GiB whose ETag is its md5",
        (Bucket("large-md5", 1, 2 * GIB, md5=True),),
        _goals(1.0, 1.0, of="rclone"),
    ),
    Load("medium", "2,000 objects of 1 MB", (Bucket("medium", 2_000, 1_000_000),), _goals(0.9, 1)),
    Load("small", "5,000 objects of 4 kB", (Bucket("small", 5_000, 4_000),), _goals(0.65, 0.65)),
    Load(
        "locked",
        "10,000 objects of 4 kB, with a lock and without",
        (Bucket("locked", 10_000, 4_000),),
        tuple(Goal(each, 1.0, "kaiwo", "kaiwo-locked") for each in ("wall_s", "cpu_s")),
        tools=("kaiwo", "kaiwo-locked", "s5cmd"),
    ),
    Load(
        "tls",
        "1 object of 1 GiB over TLS 1.3",
        (Bucket("tls", 1, GIB, tls=True),),
        _goals(1.15, 1.3),
    ),
    Load(
        "again",
        "5,000 objects of 4 kB, all in place already",
        (Bucket("again", 5_000, 4_000),),
        _goals(0.5, of="rclone"),
        tools=(*KAIWO, "s5cmd", "rclone", "rclone-modtime"),
        action=Action.AGAIN,
    ),
    Load(
        "start",
        "1 object of 1 kB",
        (Bucket("start", 1, 1_000),),
        _goals(1.3, of="imports"),
        tools=(*KAIWO, "imports", *OF_S3, "curl"),
    ),
    Load(
        "listing",
        "the 100 names that match, of 100,000",
        (Bucket("listing", 100_000, 100, files=False),),
        (),
        tools=("kaiwo", *OF_S3),
        action=Action.LIST,
        rounds=3,
    ),
    Load("hub", _HUB, _in_hub(), _goals(0.8, of="hf"), tools=("kaiwo", "hf")),
    Load(
        "hub-limited",
        f"{_HUB}, 50 MB/s a connection",
        _in_hub(rate=50_000_000),
        _goals(0.4, of="hf"),
        tools=("kaiwo", "hf"),
    ),
    Load(
        "hub-cache",
        f"{_HUB}, into its cache",
        _in_hub(),
        _goals(0.8, of="hf"),
        tools=("kaiwo", "hf"),
        action=Action.CACHE,
    ),
    Load(
        "mixed",
        "three tasks: 1 object of 1 GiB, 2,000 of 1 MB, 5,000 of 4 kB",
        (
            Bucket("mixed-large", 1, GIB),
            Bucket("mixed-medium", 2_000, 1_000_000),
            Bucket("mixed-small", 5_000, 4_000),
        ),
        (),
        tools=(*KAIWO, "s5cmd", "rclone"),
        rounds=3,
    ),
    Load(
        "many",
        "100,000 objects of 100 bytes",
        (Bucket("many", 100_000, 100),),
        _peak(400, "kaiwo-obstore", "kaiwo-fsspec"),
        tools=(*KAIWO, "s5cmd", "rclone"),
        rounds=1,
        asked=True,
    ),
)
