"""A cluster that speaks TLS: what travels by it, and what is said where the sides do not fit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed.security import Security

import kaiwo
from kaiwo.remote.reaching import connect
from tests.support import certificates
from tests.support.command import tree
from tests.support.dask_cluster import DaskCluster, configured, dask_cluster, tls_settings
from tests.support.stores import Store

AUTHORITY = certificates.authority()
STRANGER = certificates.authority()
OBJECTS = {"a": b"a" * 1000, "b": b"b" * 2_000_000}


@dataclass
class Machines:
    """A cluster, and the disk of each of its workers."""

    cluster: DaskCluster
    disks: list[Path]
    settings: dict[str, str]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("dask")
    settings = tls_settings(folder / "tls", AUTHORITY, certificates.peer(AUTHORITY))
    with dask_cluster(folder, env=settings, protocol="tls") as cluster:
        disks = [tmp_path_factory.mktemp("disk") for _ in range(2)]
        for disk in disks:
            cluster.add({"KAIWO_DOWNLOAD_ROOT": f"{disk}"})
        with configured(settings):
            cluster.wait_for_workers()
        yield Machines(cluster, disks, settings)


def test_bytes_and_a_secret_of_the_configuration_travel_by_tls(
    machines: Machines, s3: Store, tmp_path: Path
) -> None:
    address = machines.cluster.address
    assert address.startswith("tls://")
    task = s3.task(s3.new_bucket(OBJECTS), [{"folder": "", "target_path": "x"}])
    assert task["secret_key"]
    config = {"download_root": f"{tmp_path}", "download_items": [task]}
    with configured(machines.settings):
        kaiwo.download(config, dask=address).raise_for_failures()
        assert tree(tmp_path / "x") == OBJECTS
        report = kaiwo.download(config, dask=address, replicate=True)
    report.raise_for_failures()
    assert [tree(disk / "x") for disk in machines.disks] == [OBJECTS] * 2
    total = sum(map(len, OBJECTS.values()))
    assert sum(each.store_bytes for each in report.nodes) == total
    assert {each.store_bytes + each.peer_bytes for each in report.nodes} == {total}
    assert all(each.address.startswith("tls://") for each in report.nodes)
    logs = b"".join(path.read_bytes() for path in machines.cluster.folder.glob("*.log"))
    assert logs
    assert str(task["secret_key"]).encode() not in logs


def loaded(_: Any) -> Security:
    """A security loader of Dask's, which gives texts in place of files."""
    own = certificates.peer(AUTHORITY)
    texts = {"ca_file": AUTHORITY.pem, "client_cert": own.pem, "client_key": own.key_pem}
    return Security(**{f"tls_{name}": pem.decode() for name, pem in texts.items()})


def test_a_security_loader_gives_the_certificates(machines: Machines) -> None:
    loader = {"distributed.client.security-loader": f"{__name__}.{loaded.__name__}"}
    with dask.config.set(loader), connect(machines.cluster.address, 60) as client:
        assert len(client.scheduler_info()["workers"]) == 2


def certified(folder: Path, shown_by: certificates.Certified) -> dict[str, str]:
    """Who shows a certificate of this authority, and trusts that of the cluster."""
    return tls_settings(folder, AUTHORITY, certificates.peer(shown_by))


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        ("untrusted", 3, "certificate of the Dask scheduler at tls://.* is not trusted .*CA_FILE"),
        ("refused", 3, r"refuses .*/CLIENT__CERT \(.*CA\): .*CLIENT__CERT"),
        ("uncertified", 2, r"TLS needs .*CLIENT__CERT\) is not there"),
        ("unread", 2, r"cannot read /nowhere, .*CA_FILE\): No such file"),
        ("mismatched", 2, r"cannot be used \(KEY_VALUES_MISMATCH\): .*CLIENT__KEY"),
        ("plain", 2, "the Dask scheduler at tcp://.* speaks TLS: give it as tls://"),
    ],
)
def test_who_does_not_fit_is_told_so_at_once(
    machines: Machines, tmp_path: Path, fault: str, code: int, told: str
) -> None:
    address, settings = machines.cluster.address, dict(machines.settings)
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    match fault:
        case "untrusted":
            settings = tls_settings(tmp_path / "tls", STRANGER, certificates.peer(AUTHORITY))
        case "refused":
            settings = certified(tmp_path / "tls", STRANGER)
        case "uncertified":
            del settings[f"{prefix}CLIENT__CERT"]
        case "unread":
            settings[f"{prefix}CA_FILE"] = "/nowhere"
        case "mismatched":
            other = certified(tmp_path / "tls", AUTHORITY)
            settings[f"{prefix}CLIENT__KEY"] = other[f"{prefix}CLIENT__KEY"]
        case "plain":
            address = address.replace("tls://", "tcp://")
    (tmp_path / "a").write_bytes(b"a")
    item: dict[str, Any] = {"file": f"file://{tmp_path}/a", "target_path": "b"}
    config = {"download_root": f"{tmp_path}", "download_items": [{"type": "url", "items": [item]}]}
    begun_s = time.monotonic()
    with configured(settings), pytest.raises(kaiwo.KaiwoError, match=told) as raised:
        kaiwo.download(config, dask=address, startup_wait=60)
    assert raised.value.exit_code == code
    assert time.monotonic() - begun_s < 20
    assert not (tmp_path / "b").exists()
