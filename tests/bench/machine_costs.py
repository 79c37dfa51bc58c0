"""What objects cost on a Dask cluster: `python -m tests.bench.machine_costs [--count N ...]`.

Processor time (user and system) of each process: the client, which has the plan; the scheduler;
all workers together. First for an object, of so many objects of 1 kB, then for a GB, of objects of
125 MB; no checksums are stated. And the most memory that the scheduler and a worker have had so
far. nginx serves them on this machine; its own time is not counted. Before, a run has loaded kaiwo
on the workers. All files are compared.

    --count N      objects of a run, several times (1,000, 10,000 and 20,000)
    --workers N    of the cluster, several times (1, 2 and 4); 0: threads of this process, no Dask
    --replicate    onto the disk of each worker
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kaiwo
from tests.bench import nginx
from tests.bench.buckets import Bucket, Shelf
from tests.bench.machines import config_of, differences
from tests.support.dask_cluster import DaskCluster, dask_cluster

COUNTS, WORKERS = (1_000, 10_000, 20_000), (1, 2, 4)
LARGE = Bucket("large", 8, 125_000_000)
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print a line for each load and cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, action="append")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--replicate", action="store_true")
    given = parser.parse_args()
    small = [Bucket(f"small{n}", n, 1000) for n in given.count or COUNTS]
    buckets = [*small, *([] if given.count else [LARGE])]
    warm = Bucket("warm", 20, 1000)
    print(
        " workers      objects  seconds   client  scheduler  workers   (us for each, or s for a GB)"
    )
    with tempfile.TemporaryDirectory(dir=_fast()) as work, contextlib.ExitStack() as stack:
        served = Shelf(Path(work) / "served")
        for bucket in [warm, *buckets]:
            served.fill(bucket)
        (Path(work) / "nginx").mkdir()
        both = [warm, *buckets]
        address = stack.enter_context(nginx.nginx(Path(work) / "nginx", served, both)).plain
        for workers in given.workers or WORKERS:
            with _cluster(workers, Path(work) / "disks") as cluster:
                options: dict[str, Any] = {} if cluster is None else {"dask": cluster.address}
                if given.replicate:
                    options["replicate"] = True
                load = _Load(address, served, cluster, options)
                load.run(warm)
                for bucket in buckets:
                    load.report(bucket)


class _Load:
    """Runs on one cluster.

    Args:
        address: of the server.
        served: what it serves.
        cluster: whose processes are measured.
        options: of the runs.
    """

    def __init__(
        self, address: str, served: Shelf, cluster: DaskCluster | None, options: dict[str, Any]
    ) -> None:
        self._address, self._served = address, served
        self._cluster, self._options = cluster, options

    def run(self, bucket: Bucket) -> None:
        """Fetch all of a bucket, compare and remove it."""
        with tempfile.TemporaryDirectory(dir=_fast()) as folder:
            config = config_of(self._address, Path(folder) / "root", bucket.name)
            if "replicate" in self._options:
                config["download_items"][0]["buckets"][0]["items"][0]["target_path"] = bucket.name
            before = self._spent()
            began_s = time.monotonic()
            report = kaiwo.download(config, progress="none", **self._options)
            self.took_s = time.monotonic() - began_s
            self.spent = [now - then for now, then in zip(self._spent(), before, strict=True)]
            report.raise_for_failures()
            roots = [Path(each.root) / bucket.name for each in report.nodes]
            for root in roots or [Path(folder) / "root"]:
                if found := differences(self._served.root / bucket.name, root):
                    raise SystemExit(f"wrong bytes: {found[:5]}")
            for root in roots:
                shutil.rmtree(root)

    def report(self, bucket: Bucket) -> None:
        """Print what a bucket costs."""
        self.run(bucket)
        is_small = bucket is not LARGE
        per = bucket.count / 1e6 if is_small else bucket.count * bucket.size / 1e9
        client, scheduler, workers = (f"{seconds / per:8.1f}" for seconds in self.spent)
        what = f"{bucket.count:9,} small" if is_small else f"{per:9g} GB   "
        count = 0 if self._cluster is None else len(self._cluster.workers)
        most = "".join(f"{mib:9}" for mib in self._most())
        text = f"{count:8}{what}{self.took_s:9.1f} {client}   {scheduler} {workers}  {most}"
        print(text, flush=True)

    def _most(self) -> list[int]:
        """The most MiB of the scheduler, and of a worker."""
        if self._cluster is None or self._cluster.scheduler is None:
            return []
        workers = [_most_of(each.pid) for each in self._cluster.workers.values()]
        return [_most_of(self._cluster.scheduler.pid), max(workers)]

    def _spent(self) -> list[float]:
        """Seconds of processor time so far: of this process, the scheduler, and all workers."""
        if self._cluster is None or self._cluster.scheduler is None:
            return [time.process_time(), 0.0, 0.0]
        workers = sum(_spent_by(each.pid) for each in self._cluster.workers.values())
        return [time.process_time(), _spent_by(self._cluster.scheduler.pid), workers]


def _spent_by(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _most_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10


@contextlib.contextmanager
def _cluster(workers: int, disks: Path) -> Iterator[DaskCluster | None]:
    """So many workers, each with a disk; None for no workers."""
    if not workers:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, dask_cluster(Path(folder)) as found:
        for number in range(workers):
            root = disks / f"{number}"
            root.mkdir(parents=True, exist_ok=True)
            found.add({"KAIWO_DOWNLOAD_ROOT": f"{root}"})
        found.wait_for_workers()
        yield found


def _fast() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


if __name__ == "__main__":
    main()
