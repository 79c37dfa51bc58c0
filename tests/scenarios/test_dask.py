"""``--dask``: the workers of a cluster move the bytes; they come, go and are killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.remote import watching
from kaiwo.remote.cluster import Cluster
from kaiwo.remote.reaching import connect
from tests.bench.machines import Trigger, config_of
from tests.servers import serving
from tests.servers.paced import paced
from tests.support import certificates
from tests.support.command import tree
from tests.support.dask_cluster import DaskCluster, configured, dask_cluster, tls_settings
from tests.support.generations import fill
from tests.support.stores import Store
from tests.support.waiting import wait_until

MIB = 1 << 20
CHANCE = random.Random(11)
SIZES = (20 * MIB, 9 * MIB, *(1000 + each for each in range(150)))
OBJECTS = {f"{number:03}": CHANCE.randbytes(size) for number, size in enumerate(SIZES)}
TOTAL = sum(SIZES)
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask"), 1) as found:
        yield found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    fill(folder, OBJECTS)
    return folder


def published(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(root).items() if not name.startswith(".kaiwo")}


def sites(root: Path) -> list[Path]:
    return list(root.glob(".kaiwo/run-*/*.jsonl"))


def downloaded(
    cluster: DaskCluster, server: dict[str, str], root: Path, act: Callable[[], None]
) -> kaiwo.Report:
    """All objects, by two requests a worker; after a mebibyte, something happens."""
    config = config_of(server["endpoint_url"], root)
    sink = Trigger(MIB, act)
    report = kaiwo.download(config, dask=cluster.address, max_workers=2, sink=sink)
    report.raise_for_failures()
    return report


def test_a_worker_that_joins_takes_over_from_one_that_is_killed(
    cluster: DaskCluster, shelf: Path, tmp_path: Path
) -> None:
    (first,) = cluster.workers
    took_over = threading.Event()

    def replace() -> None:
        cluster.add()
        wait_until(lambda: len(sites(tmp_path)) == 2, "the new worker gets no work", PATIENCE_S)
        cluster.kill(first)
        took_over.set()

    with paced(shelf, rate=2 * MIB) as server:
        report = downloaded(cluster, server, tmp_path, replace)
    assert took_over.is_set()
    assert published(tmp_path) == OBJECTS
    # What the worker had under way was read again, and nobody is charged with it.
    assert TOTAL <= report.transferred_bytes <= TOTAL + 3 * 8 * MIB
    assert {item.attempts for item in report.items} == {1}
    assert os.listdir(tmp_path / ".kaiwo") == ["manifest.jsonl"]


def test_what_a_worker_had_that_hangs_goes_to_others(
    cluster: DaskCluster, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SILENT_S", 3.0)
    hanging = cluster.add()
    process = cluster.workers[hanging]

    def hang() -> None:
        wait_until(lambda: len(sites(tmp_path)) == 2, "one worker gets no work", PATIENCE_S)
        process.send_signal(signal.SIGSTOP)

    cluster.wait_for_workers()
    with paced(shelf, rate=2 * MIB) as server:
        downloaded(cluster, server, tmp_path, hang)
        assert published(tmp_path) == OBJECTS
        # It wakes up after the run, and does nothing more for it.
        process.send_signal(signal.SIGCONT)
        with connect(cluster.address, PATIENCE_S) as client:
            wait_until(lambda: not any(client.run(runs).values()), "it goes on", PATIENCE_S)
    assert published(tmp_path) == OBJECTS
    assert os.listdir(tmp_path / ".kaiwo") == ["manifest.jsonl"]
    cluster.kill(hanging)


def test_dask_looks_at_no_thread_of_a_job(
    cluster: DaskCluster, shelf: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def look() -> None:
        with connect(cluster.address, PATIENCE_S) as client:
            seen.extend(client.run(threads_of_tasks).values())
            seen.append(max(client.run(runs).values()))

    with paced(shelf, rate=2 * MIB) as server:
        downloaded(cluster, server, tmp_path, look)
    wait_until(lambda: len(seen) == len(cluster.workers) + 1, "nobody looked", PATIENCE_S)
    assert seen == [*([0] * len(cluster.workers)), 1]


def threads_of_tasks(dask_worker: Any) -> int:
    """On a worker: how many threads Dask looks at, as they do a task."""
    return len(dask_worker.active_threads)


def runs() -> int:
    """On a worker: how many runs of kaiwo it works for."""
    return sum(each.name == "kaiwo-site" for each in threading.enumerate())


def watch_sessions() -> None:
    """On a worker: note by which threads sessions of s3fs are closed."""
    import s3fs  # noqa: PLC0415 - on the worker

    def close_session(*args: Any) -> None:
        s3fs.closed_by.append(threading.current_thread().name)
        close(*args)

    s3fs.closed_by, close = [], s3fs.S3FileSystem.close_session
    s3fs.S3FileSystem.close_session = staticmethod(close_session)


def closed_by() -> list[str]:
    import s3fs  # noqa: PLC0415 - on the worker

    return list(s3fs.closed_by)


def test_a_worker_closes_its_sessions_itself_when_the_run_is_over(
    cluster: DaskCluster, s3: Store, tmp_path: Path
) -> None:
    task = with_secret_files(s3, tmp_path, {"a": b"a" * 1000})
    config = {"download_root": f"{tmp_path}", "download_items": [task]}
    with connect(cluster.address, PATIENCE_S) as client:
        client.wait_for_workers(1, PATIENCE_S)
        client.run(watch_sessions)
        kaiwo.download(config, dask=cluster.address, engine="fsspec").raise_for_failures()
        # Else the worker's event loop collects it at any time, and closes a session of another one.
        wait_until(lambda: any(client.run(closed_by).values()), "a session is left", PATIENCE_S)
        assert {name for names in client.run(closed_by).values() for name in names} == {
            "kaiwo-site"
        }


def with_secret_files(s3: Store, folder: Path, objects: dict[str, bytes]) -> dict[str, Any]:
    """A task for all of these, whose workers read its secrets from files."""
    secrets: dict[str, str | None] = {}
    for name in ("access_key_id", "secret_key"):
        path = folder / name
        path.write_text(str(s3.fields[name]))
        secrets |= {name: None, f"{name}_file": str(path)}
    return s3.task(s3.new_bucket(objects), [{"folder": "", "target_path": "x"}], **secrets)


def test_secret_files_are_read_there_and_a_second_run_asks_no_cluster(
    cluster: DaskCluster, s3: Store, tmp_path: Path
) -> None:
    objects = {"a": b"a" * 1000, "b": b"b" * 2_000_000}
    task = with_secret_files(s3, tmp_path, objects)
    config = {"download_root": f"{tmp_path}", "download_items": [task]}
    kaiwo.download(config, dask=cluster.address).raise_for_failures()
    assert tree(tmp_path / "x") == objects
    again = kaiwo.download(config, dask=f"tcp://{serving.HOST}:1")
    assert {item.status for item in again.items} == {"unchanged"}


S3_WITH_KEY = {
    "type": "s3",
    "access_key_id": "me",
    "secret_key": "hush",
    "buckets": [{"name": "bucket", "items": [{"folder": "", "target_path": "x"}]}],
}
URL_WITH_PASSWORD = {
    "type": "url",
    "items": [{"file": "https://me:hush@localhost/a", "target_path": "a"}],
}
SIGNED_URL = {
    "type": "url",
    "items": [{"file": "https://localhost/a?X-Amz-Signature=hush", "target_path": "a"}],
}


@pytest.mark.parametrize("task", [S3_WITH_KEY, URL_WITH_PASSWORD, SIGNED_URL])
def test_secrets_do_not_travel_as_plain_text(task: dict[str, Any], tmp_path: Path) -> None:
    config = {"download_root": f"{tmp_path}", "download_items": [task]}
    with pytest.raises(kaiwo.ConfigError, match=r"plain text: use a field .*tls://") as raised:
        kaiwo.download(config, dask="tcp://127.0.0.1:1")
    assert raised.value.exit_code == 2
    assert "hush" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_that_is_not_there_is_named(shelf: Path, tmp_path: Path) -> None:
    with paced(shelf) as server:
        config = config_of(server["endpoint_url"], tmp_path)
        with pytest.raises(kaiwo.ServiceError, match="the Dask scheduler at tcp://127") as raised:
            kaiwo.download(config, dask=f"tcp://{serving.HOST}:1", startup_wait=0)
    assert raised.value.exit_code == 5
    assert published(tmp_path) == {}


def test_a_scheduler_that_does_not_speak_tls_is_told_so(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    authority = certificates.authority()
    settings = tls_settings(tmp_path / "tls", authority, certificates.peer(authority))
    address = cluster.address.replace("tcp://", "tls://")
    with configured(settings), pytest.raises(kaiwo.ConfigError, match="does not speak TLS"):
        connect(address, PATIENCE_S)


def test_no_worker_that_does_not_see_the_root_or_a_secret_file_is_used(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    with connect(cluster.address, PATIENCE_S) as client:
        blind = Cluster(client, [f"{tmp_path}/.kaiwo/run-ab"], [], PATIENCE_S)
        with pytest.raises(kaiwo.KaiwoError, match="does not see the download root") as raised:
            blind.begin()
        assert raised.value.exit_code == 6
        without = Cluster(client, [], [f"{tmp_path}/key"], PATIENCE_S)
        with pytest.raises(kaiwo.ConfigError, match=f"cannot read {tmp_path}/key"):
            without.begin()


def test_an_executor_and_a_cluster_exclude_each_other(tmp_path: Path) -> None:
    task = {"type": "url", "items": [{"file": "https://localhost/x", "target_path": "x"}]}
    config = {"download_root": f"{tmp_path}", "download_items": [task]}
    with ThreadPoolExecutor(1) as pool, pytest.raises(kaiwo.ConfigError, match="exclude each"):
        kaiwo.download(config, executor=pool, dask="tcp://localhost:1")


def test_the_executor_of_a_client_is_one_as_any_other(
    cluster: DaskCluster, shelf: Path, tmp_path: Path
) -> None:
    with (
        paced(shelf) as server,
        connect(cluster.address, PATIENCE_S) as client,
        client.get_executor(pure=False) as executor,
    ):
        config = config_of(server["endpoint_url"], tmp_path)
        kaiwo.download(config, executor=executor).raise_for_failures()
        assert executor.submit(pow, 2, 3).result(PATIENCE_S) == 8
    assert published(tmp_path) == OBJECTS
