"""A Dask cluster of real processes on this machine, whose workers come, go and are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dask
from distributed import Client

from tests.servers import ROOT
from tests.support.certificates import Certified
from tests.support.waiting import wait_until

_HOST = "127.0.0.1"
_END_S = 20.0


@dataclass
class DaskCluster:
    """A scheduler and its workers, each a process of one thread.

    Attributes:
        folder: for their files and logs.
        address: of the scheduler.
        workers: the processes, by their names.
        env: variables of all of them.
        scheduler: its process.
    """

    folder: Path
    address: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    scheduler: subprocess.Popen[bytes] | None = None
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _count: int = 0

    def add(self, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """Start a worker; returns its name. It joins by itself."""
        name = f"w{self._count}"
        self._count += 1
        command = [sys.executable, "-m", "distributed.cli.dask_worker", self.address]
        command += ["--nthreads=1", "--no-nanny", "--no-dashboard", f"--name={name}"]
        command += [f"--local-directory={self.folder / name}", f"--host={_HOST}"]
        self.workers[name] = self.start(command, name, dict(env or {}), cwd)
        return name

    def kill(self, name: str) -> None:
        """End a worker as a machine ends that is switched off."""
        process = self.workers.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(_END_S)

    def wait_for_workers(self) -> None:
        """Return when all workers have joined."""
        with Client(self.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=120)

    def close(self) -> None:
        """End all of it."""
        for process in self.workers.values():
            process.kill()
        for process in self.workers.values():
            process.wait(_END_S)
        self.workers.clear()

    def start(
        self, command: list[str], name: str, env: dict[str, str], cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process of the cluster, with a log of that name."""
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=cwd or self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path, **self.env, **env},
            )


def tls_settings(folder: Path, trusted: Certified, shown: Certified) -> dict[str, str]:
    """Dask's settings for who trusts this authority and shows this certificate, as variables."""
    folder.mkdir()
    files = {"CA_FILE": trusted.pem}
    for role in ("CLIENT", "SCHEDULER", "WORKER"):
        files |= {f"{role}__CERT": shown.pem, f"{role}__KEY": shown.key_pem}
    for name, pem in files.items():
        (folder / name).write_bytes(pem)
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": f"{folder / name}" for name in files}


@contextlib.contextmanager
def configured(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside the block, these variables configure Dask in this process, too."""
    dask.config.refresh(env={**os.environ, **variables})
    try:
        yield
    finally:
        dask.config.refresh()


class Machines:
    """Workers that each have their own disk: a folder, in which their environment names places.

    Args:
        cluster: of the workers.
        folder: of the disks.
        places: below a disk, by the variables that name them.

    Attributes:
        disks: by the names of the workers.
    """

    def __init__(self, cluster: DaskCluster, folder: Path, places: Mapping[str, str]) -> None:
        self.cluster = cluster
        self.disks: dict[str, Path] = {}
        self._folder, self._places = folder, places

    def add(self) -> str:
        """One more; returns its name."""
        disk = self._folder / f"disk{len(self.disks)}"
        disk.mkdir()
        name = self.cluster.add({each: f"{disk / place}" for each, place in self._places.items()})
        self.disks[name] = disk
        return name

    @property
    def living(self) -> dict[str, Path]:
        """The disks of the workers that live."""
        return {name: self.disks[name] for name in self.cluster.workers}


@contextlib.contextmanager
def three_machines(
    cluster_folder: Path, disks: Path, places: Mapping[str, str]
) -> Iterator[Machines]:
    """A cluster of three such workers; the last two arguments are those of ``Machines``."""
    with dask_cluster(cluster_folder) as cluster:
        found = Machines(cluster, disks, places)
        for _ in range(3):
            found.add()
        cluster.wait_for_workers()
        yield found


@contextlib.contextmanager
def dask_cluster(
    folder: Path, workers: int = 0, *, env: Mapping[str, str] | None = None, protocol: str = "tcp"
) -> Iterator[DaskCluster]:
    """A cluster that runs until the block is left, with that many workers."""
    found = DaskCluster(folder, env=env or {})
    told = folder / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", f"--host={_HOST}"]
    command += [f"--protocol={protocol}"]
    command += ["--port=0", "--no-dashboard", f"--scheduler-file={told}"]
    scheduler = found.scheduler = found.start(command, "scheduler", {})
    try:
        wait_until(told.exists, "the scheduler does not start", 60)
        wait_until(lambda: told.read_text().endswith("}"), "its file is not whole", 60)
        found.address = json.loads(told.read_text())["address"]
        for _ in range(workers):
            found.add()
        yield found
    finally:
        found.close()
        scheduler.kill()
        scheduler.wait(_END_S)
