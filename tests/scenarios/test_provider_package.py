"""The example of a provider, installed as anybody would: its type is one like kaiwo's own."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from shelf_server import ShelfServer, serving

from tests.servers import ROOT
from tests.support.command import clean_environment, succeeding, tree

TOKEN = "the-right-token"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a new environment, in which the example is installed."""
    folder = tmp_path_factory.mktemp("environment")
    succeeding([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder, {})
    program = str(folder / "bin" / "python")
    (site,) = folder.glob("lib/python3*/site-packages")
    # What kaiwo stands on is there already, and so is kaiwo: nothing is asked for.
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", program, "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    succeeding([*install, *offline, str(ROOT / "examples" / "provider")], folder, {})
    return program


@pytest.fixture(scope="module")
def shelf() -> Iterator[ShelfServer]:
    with serving(TOKEN) as server:
        server.buckets["books"] = {"a/one.txt": b"one", "a/two.csv": b"two", "a/": b""}
        yield server


def run(python: str, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [python, "-m", "kaiwo", *words],
        cwd=home,
        env=clean_environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert TOKEN not in done.stdout + done.stderr
    return done


def test_an_installed_provider_is_used_by_every_command(
    python: str, shelf: ShelfServer, tmp_path: Path
) -> None:
    endpoint = f"http://{shelf.address}"
    (tmp_path / "token").write_text(TOKEN)
    shelves = [{"name": "books", "items": [{"folder": "a", "glob": "*", "target_path": "."}]}]
    task = {"type": "shelf", "endpoint_url": endpoint, "token_file": "token", "shelves": shelves}
    for name, fields in {"right": task, "wrong": {**task, "shelfs": []}}.items():
        config = {"download_root": "out", "download_items": [fields]}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    of_url = ("shelf://books/a/*.csv", "into", "-o", f"endpoint_url={endpoint}")
    commands = {
        "download": ("download", "right.yaml"),
        "fetch": ("fetch", *of_url, "-o", "token_file=token"),
        "refused": ("fetch", *of_url, "-o", "token=wrong"),
        "validate": ("validate", "wrong.yaml"),
        "schema": ("schema",),
        "doctor": ("doctor", "--json"),
    }
    with ThreadPoolExecutor(3) as threads:
        running = {n: threads.submit(run, python, tmp_path, *c) for n, c in commands.items()}
        done = {name: each.result() for name, each in running.items()}

    assert done["download"].returncode == 0, done["download"].stderr
    assert tree(tmp_path / "out") == {"one.txt": b"one", "two.csv": b"two"}
    assert done["fetch"].returncode == 0, done["fetch"].stderr
    assert tree(tmp_path / "into") == {"two.csv": b"two"}
    assert done["refused"].returncode == 3
    assert "shelf://books/a/" in done["refused"].stderr
    assert done["validate"].returncode == 2
    assert "did you mean 'shelves'?" in done["validate"].stderr
    schema = json.loads(done["schema"].stdout)["$defs"]
    assert "shelf" in schema["Task"]["properties"]["type"]["anyOf"][0]["enum"]
    shown = schema["ShelfTask"]["properties"]
    assert shown["shelves"]["description"] == "Shelves, with their items."
    assert "shelf (kaiwo-shelf 1.0)" in json.loads(done["doctor"].stdout)["plugins"]
    assert json.loads(done["doctor"].stdout)["problems"] == []
