"""The three commands of docker-compose.test.yaml, against the local servers instead of Docker's."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.servers import ROOT
from tests.support.command import succeeding, tree
from tests.support.stores import Store
from tests.upload_test_data import AZURITE, OBJECTS

COMPOSE = ROOT / "docker-compose.test.yaml"
TASK = ROOT / "tests" / "test_download_task.yaml"


def run(words: list[str], folder: Path, **variables: str) -> str:
    """Run Python as a user would, from another folder; it must succeed."""
    return succeeding([sys.executable, *words], folder, variables)


def test_the_script_and_the_task_work_on_local_servers(
    s3: Store, gcs: Store, azure: Store, tmp_path: Path
) -> None:
    s3_url, gcs_url = (store.settings["endpoint_url"] for store in (s3, gcs))
    connection = azure.settings["connection_string"]
    script = str(ROOT / "tests" / "upload_test_data.py")
    run([script, "--s3", s3_url, "--gcs", gcs_url, "--azure", connection], tmp_path)
    text = TASK.read_text(encoding="utf-8")
    for ours, local in (("http://localhost:9000", s3_url), (AZURITE, connection)):
        assert ours in text
        text = text.replace(ours, local)
    config = tmp_path / "task.yaml"
    config.write_text(text, encoding="utf-8")
    run(["-m", "kaiwo.downloader", str(config)], tmp_path, STORAGE_EMULATOR_HOST=gcs_url)
    wanted = {key: data for key, data in OBJECTS.items() if key.startswith("data/")}
    wanted = {key: data for key, data in wanted.items() if key.endswith(".csv")}
    expected = {
        f"{store}/{key}": data
        for store in ("s3", "gcs", "azure")
        for key, data in {**wanted, "readme.txt": OBJECTS["readme.txt"]}.items()
    }
    assert tree(tmp_path / "tests" / "output") == expected


def test_the_compose_file_starts_the_services_that_the_task_names() -> None:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    ports = {name: service["ports"] for name, service in services.items()}
    assert ports == {
        "minio": ["127.0.0.1:9000:9000"],
        "gcs": ["127.0.0.1:9023:9023"],
        "azurite": ["127.0.0.1:10000:10000"],
    }
    assert all("healthcheck" in service for service in services.values())


def test_the_compose_file_is_one_for_a_compose_tool(tmp_path: Path) -> None:
    command = ["-m", "podman_compose", "--dry-run", "-f", str(COMPOSE), "config"]
    understood = yaml.safe_load(run(command, tmp_path))
    assert set(understood["services"]) == {"minio", "gcs", "azurite"}
