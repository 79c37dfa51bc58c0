"""The server of a load: nginx, or, where that is missing, rclone for the loads that it can do."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench import nginx
from tests.bench.buckets import Shelf
from tests.bench.load import Load
from tests.bench.nginx import Endpoint
from tests.bench.rounds import Place
from tests.servers import serving

_SERVES = re.compile(rf"(http://{re.escape(serving.HOST)}:\d+)")


def name() -> str:
    """Which server it is."""
    return "nginx" if nginx.program() else "rclone"


def missing(load: Load) -> str:
    """What this machine lacks for a load; empty if nothing."""
    if not nginx.program():
        return "nginx" if any(bucket.needs_nginx for bucket in load.buckets) else ""
    if not nginx.lua() and any(bucket.needs_lua for bucket in load.buckets):
        return "nginx's Lua module"
    return ""


@contextlib.contextmanager
def served(load: Load, folder: Path) -> Iterator[Place]:
    """Write a load's files below a folder, serve them until the block is left, and remove them."""
    shelf, work, server = Shelf(folder / "served"), folder / "work", folder / "server"
    for one in (shelf.root, work, server):
        one.mkdir(parents=True)
    try:
        for bucket in load.buckets:
            if bucket.files:
                shelf.fill(bucket)
        start = (
            nginx.nginx(server, shelf, load.buckets) if nginx.program() else _rclone(shelf, server)
        )
        with start as endpoint:
            yield Place(shelf, endpoint, work)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _rclone(shelf: Shelf, work: Path) -> Iterator[Endpoint]:
    """By `rclone serve s3`; it uses more CPU than most of its clients, so the ratios are flat.

    It states no ETags: their md5 would be computed for each request. Signatures it does not
    ask for, as nginx does not.
    """
    command = [
        str(Path(sys.executable).with_name("rclone")),
        *("serve", "s3", str(shelf.root), f"--addr={serving.HOST}:0", "--etag-hash="),
    ]
    env = {key: value for key, value in os.environ.items() if "RCLONE" not in key}
    env |= {"RCLONE_CONFIG": os.devnull, "RCLONE_CACHE_DIR": str(work / "cache")}
    with serving.child(command, _SERVES, cwd=work, env=env) as match:
        yield Endpoint(match[1])
