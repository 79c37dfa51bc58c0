"""Measures kaiwo on the workers of a Dask cluster: `python -m tests.bench.machines [LOAD ...]`.

    spread    600 MB from a server that paces each connection to 10 MB/s, by 8 connections a
              worker, on 1, 2 and 4 workers; and on 4, of which one is killed on the way
    small     20,000 objects of 1 kB, on threads of this process and on 2 workers
    replicate 600 MB from a server that sends 30 MB/s in all, onto the disk of each worker: of one,
              of 4, and of 4 of which one is killed on the way while another one joins

All runs on this machine: processes of one thread each are the workers, and share its processors
with the server. It is not part of the benchmark's tables, which compare kaiwo with others.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import os
import random
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kaiwo
from kaiwo.events import Event, Progressed
from tests import servers
from tests.bench import nginx
from tests.bench.buckets import Bucket, Shelf
from tests.support.dask_cluster import DaskCluster, dask_cluster

RATE = 10_000_000
CONNECTIONS = 8
MB = 1_000_000
#: Of all connections together, where each worker gets all objects.
LINE = 30 * MB
#: Of the 600 MB: large objects, and small ones, which fill what is left of the workers' time.
LARGE, SMALL = (100 * MB,) * 5, (MB,) * 100
MANY = Bucket("small", 20_000, 1000)
#: Gives a cluster with so many workers.
Clusters = Callable[[int], contextlib.AbstractContextManager[DaskCluster]]


def fill(folder: Path, sizes: tuple[int, ...]) -> None:
    """Write an object of each size."""
    chance = random.Random(23)
    for number, size in enumerate(sizes):
        path = folder / f"{number % 100:02}" / f"{number:06}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))


@contextlib.contextmanager
def shelf(sizes: tuple[int, ...], **rates: int) -> Iterator[tuple[Path, str]]:
    """A folder of objects, and the address of a server that serves it."""
    with tempfile.TemporaryDirectory(dir=_fast()) as folder:
        fill(Path(folder), sizes)
        words = [f"--{name}={value}" for name, value in rates.items()]
        with servers.start("paced", folder, *words) as server:
            yield Path(folder), server.settings["endpoint_url"]


def _fast() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def config_of(address: str, root: Path, bucket: str = "bucket") -> dict[str, Any]:
    """Everything, without credentials."""
    task = {
        "type": "s3",
        "endpoint_url": address,
        "anonymous": True,
        "region": "us-east-1",
        "buckets": [{"name": bucket, "items": [{"folder": "", "target_path": "."}]}],
    }
    return {"download_root": f"{root}", "download_items": [task]}


def differences(folder: Path, root: Path) -> list[str]:
    """Files that are not there, or have other bytes."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    _, other, missing = filecmp.cmpfiles(folder, root, names, shallow=False)
    return other + missing


def sent(address: str) -> int:
    """Bytes of objects that the server has sent so far."""
    with urllib.request.urlopen(f"{address}/-/sent") as answer:
        return int(json.loads(answer.read())["sent"])


class Trigger:
    """A sink that calls a function once, when so many bytes are there."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self._left = at
        self._act = act
        self.is_done = False

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        if isinstance(event, Progressed):
            self._left -= event.bytes
        if self._left <= 0 and not self.is_done:
            self.is_done = True
            threading.Thread(target=self._act).start()


def timed(config: dict[str, Any], folder: Path, **options: Any) -> tuple[float, kaiwo.Report]:
    """Seconds of a run into an empty root, whose files are compared and then removed."""
    root = Path(config["download_root"])
    begun_s = time.monotonic()
    report = kaiwo.download(config, progress="none", **options)
    took_s = time.monotonic() - begun_s
    report.raise_for_failures()
    if found := differences(folder, root):
        raise SystemExit(f"wrong bytes: {found[:5]}")
    shutil.rmtree(root)
    return took_s, report


def spread(cluster: Clusters, rate: int) -> None:
    """See the module."""
    sizes = LARGE + SMALL
    with (
        shelf(sizes, rate=rate) as (folder, address),
        tempfile.TemporaryDirectory(dir=_fast()) as out,
    ):
        config = config_of(address, Path(out) / "root")
        alone_s = 0.0
        for workers in (1, 2, 4):
            with cluster(workers) as dask:
                options = {"dask": dask.address, "max_workers": CONNECTIONS}
                # Workers that have loaded kaiwo, as those of a cluster that is in use.
                timed(
                    config_of(address, Path(out) / "first") | {"max_workers": 1}, folder, **options
                )
                took_s, _ = timed(config, folder, **options)
                alone_s = alone_s or took_s
                print(
                    f"{workers} workers: {took_s:5.2f} s, {sum(sizes) / took_s / MB:4.0f} MB/s, "
                    f"{alone_s / took_s:.2f} times one",
                    flush=True,
                )
                if workers == 4:
                    before = sent(address)
                    killing = Trigger(sum(sizes) // 2, lambda: dask.kill(next(iter(dask.workers))))
                    took_s, _ = timed(config, folder, sink=killing, **options)
                    more = sent(address) - before - sum(sizes)
                    print(
                        f"one of 4 killed: {took_s:5.2f} s, right bytes, {more / MB:.1f} MB more "
                        "were sent",
                        flush=True,
                    )


def small(cluster: Clusters, _rate: int) -> None:
    """See the module."""
    with tempfile.TemporaryDirectory(dir=_fast()) as work, contextlib.ExitStack() as stack:
        served = Shelf(Path(work) / "served")
        served.fill(MANY)
        (Path(work) / "nginx").mkdir()
        server = stack.enter_context(nginx.nginx(Path(work) / "nginx", served, [MANY]))
        folder = served.root / MANY.name
        config = config_of(server.plain, Path(work) / "root", MANY.name)
        timed(config, folder)
        threads_s, _ = timed(config, folder)
        print(f"{MANY.count:,} objects of 1 kB on threads: {threads_s:5.2f} s", flush=True)
        dask = stack.enter_context(cluster(2))
        timed(config, folder, dask=dask.address)
        took_s, _ = timed(config, folder, dask=dask.address)
        print(
            f"{MANY.count:,} objects of 1 kB on 2 workers: {took_s:5.2f} s, "
            f"{took_s / threads_s:.2f} times the threads",
            flush=True,
        )


def replicate(_cluster: Clusters, _rate: int) -> None:
    """See the module."""
    sizes = LARGE + SMALL
    alone_s = 0.0
    for count in (1, 4):
        with (
            shelf(sizes, whole=LINE) as (folder, address),
            tempfile.TemporaryDirectory(dir=_fast()) as disks,
            tempfile.TemporaryDirectory() as work,
            dask_cluster(Path(work)) as dask,
        ):

            def add() -> None:
                root = tempfile.mkdtemp(dir=disks)
                dask.add({"KAIWO_DOWNLOAD_ROOT": root})

            for _ in range(count):
                add()
            dask.wait_for_workers()
            # Workers that have loaded kaiwo, as those of a cluster that is in use.
            small_config = config_of(address, Path("warm"))
            small_config["download_items"][0]["buckets"][0]["items"][0] |= {
                "glob": "**/000005.bin",
                "target_path": "warm",
            }
            kaiwo.download(small_config, dask=dask.address, replicate=True, progress="none")
            took_s = _replicated(f"{count} workers", address, folder, dask, None)
            alone_s = alone_s or took_s
            print(f"{took_s / alone_s:.2f} times one", flush=True)
            if count == 4:

                def change() -> None:
                    dask.kill(next(iter(dask.workers)))
                    add()

                for root in Path(disks).iterdir():
                    shutil.rmtree(root)
                    root.mkdir()
                changing = Trigger(4 * sum(sizes) // 2, change)
                took_s = _replicated("one killed, one joins", address, folder, dask, changing)
                print(f"{took_s / alone_s:.2f} times one", flush=True)


def _replicated(
    what: str, address: str, folder: Path, dask: DaskCluster, sink: Trigger | None
) -> float:
    """Seconds of a run onto the disks of all workers, whose files are compared."""
    before, total = sent(address), sum(LARGE + SMALL)
    config = config_of(address, Path("all"))
    begun_s = time.monotonic()
    options: dict[str, Any] = {} if sink is None else {"sink": sink}
    report = kaiwo.download(config, dask=dask.address, replicate=True, progress="none", **options)
    took_s = time.monotonic() - begun_s
    report.raise_for_failures()
    complete = [each for each in report.nodes if each.state == "complete"]
    if wrong := [each.root for each in complete if differences(folder, Path(each.root))]:
        raise SystemExit(f"wrong bytes: {wrong}")
    share = (sent(address) - before) / total
    print(
        f"{what}: {took_s:5.2f} s, the server sent {share:.3f} of the bytes, "
        f"{len(complete)} of {len(report.nodes)} nodes are complete",
        flush=True,
    )
    return took_s


LOADS = {"spread": spread, "small": small, "replicate": replicate}


def main() -> None:
    """Run the loads that are named; all, if none is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", metavar="LOAD", choices=[*LOADS, []])
    text = "bytes a second of each connection (a busy machine needs fewer)"
    parser.add_argument("--rate", type=int, default=RATE, help=text)
    given = parser.parse_args()
    for name in given.loads or LOADS:

        @contextlib.contextmanager
        def cluster(workers: int) -> Iterator[DaskCluster]:
            with (
                tempfile.TemporaryDirectory() as folder,
                dask_cluster(Path(folder), workers) as found,
            ):
                found.wait_for_workers()
                yield found

        LOADS[name](cluster, given.rate)


if __name__ == "__main__":
    main()
