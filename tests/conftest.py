"""Servers for the whole session, started when first asked for; the command as a child."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaiwo.tasks.base import Engine
from tests.support import stores
from tests.support.command import Kaiwo, Run, downloading
from tests.support.stores import Store

#: Variables that name certificates.
TRUST = {
    *("AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
    *("SSL_CERT_DIR", "SSL_CERT_FILE"),
}


def pytest_configure(config: pytest.Config) -> None:
    """Have SIGINT reach what the tests start, and have them trust what a plain machine trusts.

    A shell starts its background jobs with SIGINT ignored, and children inherit that: a test that
    interrupts one would wait in vain. A folder of certificates in the environment of whoever runs
    the tests would be read for each source that they open; tests about trust set the variables.
    """
    if "online" not in config.option.markexpr.replace("not online", ""):
        for name in os.environ.keys() & TRUST:
            del os.environ[name]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


#: The files that take longest begin first: else one process has the last of them alone.
LONGEST = (
    "test_sweep", "test_faults", "test_evictions", "test_stores", "test_words", "test_canaries",
    "test_workers", "test_forks", "test_s3", "test_runs_that_are_over", "test_any_order",
    "test_locks", "test_download", "test_engines", "test_s3_identities", "test_two_at_once",
    "test_plan_command", "test_crashes", "test_full_disk", "test_any_state_file", "test_hub_cache",
    "test_web", "test_resume", "test_reading_failures", "test_slow_lines", "test_garbled",
    "test_memory",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_collection_finish() -> None:
    """Have no collection of garbage look at modules and tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    """S3 by moto: all key shapes; does not look at signatures."""
    with stores.s3() as store:
        yield store


@pytest.fixture(scope="session")
def s3_signed() -> Iterator[Store]:
    """S3 by moto, which refuses wrong credentials."""
    with stores.s3("--check-signatures") as store:
        yield store


@pytest.fixture(scope="session")
def rclone() -> Iterator[Store]:
    """S3 by rclone."""
    with stores.s3(server="rclone") as store:
        yield store


@pytest.fixture(scope="session")
def gcs() -> Iterator[Store]:
    """Google Cloud Storage by a stand-in that speaks JSON and XML."""
    with stores.gcs() as store:
        yield store


@pytest.fixture(scope="session")
def gcs_emulator() -> Iterator[Store]:
    """Google Cloud Storage by gcp-storage-emulator, which speaks JSON only."""
    with stores.gcs(server="gcs") as store:
        yield store


@pytest.fixture(scope="session")
def azure() -> Iterator[Store]:
    """Azure Blob Storage by azurite."""
    with stores.azure() as store:
        yield store


@pytest.fixture(scope="session")
def hub() -> Iterator[Store]:
    """The local Hugging Face Hub."""
    with stores.hub() as store:
        yield store


@pytest.fixture(params=["fsspec", "obstore"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    found: Engine = request.param
    return found


@pytest.fixture(params=["s3", "gcs", "azure"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each object store in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def kaiwo(tmp_path: Path) -> Kaiwo:
    """Runs ``python -m kaiwo.downloader`` on a configuration, in a clean environment.

    The configuration is a mapping or a YAML text; ``download_root`` is ``tmp_path / "out"`` unless
    it names one. Options follow as strings, variables of the environment as ``env``.
    """

    def run(
        config: Mapping[str, Any] | str, *options: str, env: Mapping[str, str] | None = None
    ) -> Run:
        if not isinstance(config, str):
            config = yaml.safe_dump({"download_root": str(tmp_path / "out"), **config})
        return downloading(config, tmp_path, *options, env=env)

    return run
