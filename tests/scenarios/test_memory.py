"""Memory does not grow with the size of objects."""

from __future__ import annotations

import filecmp
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import serving
from tests.servers.rclone import _KEYS, _SERVES
from tests.support.command import clean_environment

MIB = 1 << 20
MOST = 256 * MIB
#: Runs a command and prints its peak in KiB. The kernel counts the memory of the process that
#: forked as the child's too, so a small one has to do it, and not pytest.
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], check=False).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@pytest.fixture
def gibibyte(tmp_path: Path) -> Iterator[Path]:
    """A file of 1 GiB; all its MiB differ."""
    path = tmp_path / "buckets" / "big" / "one"
    path.parent.mkdir(parents=True)
    body = random.Random(1).randbytes(MIB - 8)
    with path.open("wb") as file:
        for number in range(1024):
            file.write(number.to_bytes(8) + body)
    yield path
    for one in tmp_path.rglob("one"):
        one.unlink()  # pytest keeps the folders of three runs


@pytest.fixture
def endpoint(tmp_path: Path, gibibyte: Path) -> Iterator[str]:
    """S3 by rclone over the file's folder; it computes the md5 once, and not for each range."""
    remote = f":hasher,remote='{gibibyte.parents[1]}',hashes=md5,max_age=off:"
    command = [
        str(Path(sys.executable).with_name("rclone")),
        *("serve", "s3", remote, f"--addr={serving.HOST}:0", "--etag-hash=MD5"),
        f"--auth-key={_KEYS['access_key_id']},{_KEYS['secret_key']}",
    ]
    env = {name: value for name, value in os.environ.items() if "RCLONE" not in name}
    env |= {"RCLONE_CONFIG": os.devnull, "RCLONE_CACHE_DIR": str(tmp_path / "cache")}
    with serving.child(command, _SERVES, cwd=tmp_path, env=env) as match:
        yield match[1]


@pytest.mark.slow
def test_an_object_of_1_gib_takes_less_than_256_mib(
    tmp_path: Path, gibibyte: Path, endpoint: str
) -> None:
    task = {
        "type": "s3",
        "endpoint_url": endpoint,
        **_KEYS,
        "region": "us-east-1",
        "buckets": [{"name": "big", "items": [{"folder": "", "target_path": "."}]}],
    }
    config, report = tmp_path / "config.yaml", tmp_path / "report.json"
    config.write_text(
        json.dumps({"download_root": str(tmp_path / "out"), "download_items": [task]})
    )
    command = [sys.executable, "-m", "kaiwo.downloader", str(config), "--report", str(report)]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *command],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert filecmp.cmp(tmp_path / "out/one", gibibyte, shallow=False)
    (item,) = json.loads(report.read_text())["items"]
    assert item["checksum"]["verified"] is True
    assert int(done.stdout) * 1024 < MOST
