"""Three shards of one plan as three processes; then one of them is killed and started again.

    python -m tests.bench.shards [--large-mb 300] [--small 100]

One object of 300 MB and 100 of 1 MB, from moto. It prints what each process has fetched, and fails
unless each fetched a third of all bytes, within 10 %, and the union is right. Of the one that is
killed, its part counts: its second process fetches what the first one has not left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests import servers
from tests.servers import ROOT, upload

SHARDS, KILLED = 3, 1
MB = 1_000_000
#: Of a third: how far what a shard fetches may be from it.
WITHIN = 0.1
PATIENCE_S = 300.0


def main() -> int:
    """Run it; 0 if all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--large-mb", type=int, default=300)
    parser.add_argument("--small", type=int, default=100)
    args = parser.parse_args()
    objects = {f"d/{number:03}": _content(number, MB) for number in range(1, args.small + 1)}
    objects["d/large"] = _content(0, args.large_mb * MB)
    with servers.start("moto") as server, tempfile.TemporaryDirectory() as folder:
        upload.upload_s3(server.settings, "shards", objects)
        rounds = [
            _run(Path(folder, name), server.settings, objects, killed)
            for name, killed in (("whole", None), ("killed", KILLED))
        ]
    return 0 if all(rounds) else 1


def _content(seed: int, size: int) -> bytes:
    found = random.Random(seed)
    return b"".join(found.randbytes(min(MB, size - at)) for at in range(0, size, MB))


def _run(
    folder: Path, settings: Mapping[str, str], objects: Mapping[str, bytes], killed: int | None
) -> bool:
    """Run all shards at once; whether all is right."""
    root = folder / "root"
    folder.mkdir()
    names = ("endpoint_url", "access_key_id", "secret_key", "region")
    items = [{"folder": "d", "target_path": "."}]
    task: dict[str, Any] = {name: settings[name] for name in names}
    task |= {"type": "s3", "buckets": [{"name": "shards", "items": items}]}
    config = folder / "kaiwo.yaml"
    config.write_text(yaml.safe_dump({"download_root": str(root), "download_items": [task]}))
    total = sum(map(len, objects.values()))
    start_s = time.monotonic()
    running = [_started(config, shard, folder / f"{shard}.json") for shard in range(SHARDS)]
    if killed is not None:
        _wait_for_bytes(root, running[killed], total // SHARDS // 4)
        running[killed].kill()
        running[killed].wait()
        print(f"shard {killed} was killed after {time.monotonic() - start_s:.1f} s")
        running[killed] = _started(config, killed, folder / f"{killed}.json")
    codes = [each.wait(PATIENCE_S) for each in running]
    print(f"{total / MB:.0f} MB in {time.monotonic() - start_s:.1f} s; exit codes {codes}")
    is_right = codes == [0] * SHARDS and _told(folder, total, killed) and _is_right(root, objects)
    print("right" if is_right else "WRONG")
    return is_right


def _started(config: Path, shard: int, report: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kaiwo.downloader", str(config), f"--shard={shard}/{SHARDS}"]
    options = ["--progress=none", f"--report={report}", f"--metrics-file={report}.prom"]
    return subprocess.Popen([*command, *options, "--log-level=WARNING"], cwd=ROOT)


def _wait_for_bytes(root: Path, killed: subprocess.Popen[bytes], least: int) -> None:
    """Return once each shard has so many bytes of the large object, or the one has ended."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and killed.poll() is None:
        noted = [_noted(path) for path in root.glob(".kaiwo/ranges-*")]
        if len(noted) == SHARDS and min(noted) >= least:
            return
        time.sleep(0.05)


def _noted(journal: Path) -> int:
    """The bytes that a journal says are written."""
    marks = {}
    for line in journal.read_bytes().splitlines():
        if line.startswith(b'{"part"') and line.endswith(b"}"):
            _, start, length = json.loads(line)["part"]
            marks[start] = length
    return sum(marks.values())


def _told(folder: Path, total: int, killed: int | None) -> bool:
    """Print what each shard says that it has fetched; whether that is a third of all."""
    is_third = True
    for shard in range(SHARDS):
        report = json.loads((folder / f"{shard}.json").read_text())
        fetched, part = report["transferred_bytes"], report["bytes"]
        has = part if shard == killed else fetched
        is_third = is_third and abs(has / (total / SHARDS) - 1) <= WITHIN
        print(
            f"shard {shard}: {fetched / MB:6.1f} MB fetched of a part of {part / MB:.1f} MB "
            f"({part / total:.1%} of all), union checked: {report['shard']['union_checked']}"
        )
    return is_third


def _is_right(root: Path, objects: Mapping[str, bytes]) -> bool:
    there = {path.name for path in root.iterdir() if not path.name.startswith(".kaiwo")}
    return there == {key[2:] for key in objects} and all(
        hashlib.sha256((root / key[2:]).read_bytes()).digest() == hashlib.sha256(data).digest()
        for key, data in objects.items()
    )


if __name__ == "__main__":
    sys.exit(main())
