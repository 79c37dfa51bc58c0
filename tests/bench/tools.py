"""Every tool by its name, and how kaiwo is asked for the same work as its peers.

Every tool is a whole process, started from nothing, and puts a bucket's objects into a folder of
the bucket's name.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import hub, peers
from tests.bench.loads import MATCHING, Action
from tests.bench.orders import KEYS, REGION, Commands, Order, Tool


def _kaiwo(options: Sequence[str], program: str, order: Order) -> Commands:
    """One configuration; each bucket is a separate task."""
    if any(bucket.in_hub for bucket in order.buckets):
        return _kaiwo_hub(program, order)
    single = order.action is Action.COPY
    tasks = []
    for bucket in order.buckets:
        item: dict[str, str] = {"target_path": bucket.name}
        if order.action is Action.LIST:
            item |= {"folder": "", "glob": f"**/*{MATCHING}"}
        elif single and bucket.count == 1:
            item |= {"file": bucket.names()[0], "target_path": f"{bucket.name}/"}
        else:
            item |= {"folder": ""}
        task = {
            "type": "s3",
            "endpoint_url": order.url,
            **KEYS,
            "region": REGION,
            "buckets": [{"name": bucket.name, "items": [item]}],
        }
        tasks.append(task | ({"ca_bundle": order.bundle} if order.bundle else {}))
    config = order.work / "kaiwo.yaml"
    document = {"download_root": str(order.target), "download_items": tasks}
    config.write_text(json.dumps(document, indent=1))  # JSON is YAML
    if order.action is Action.LIST:
        command = [program, "plan", str(config), "--log-level", "WARNING"]
    else:
        command = [program, "download", str(config), "--progress", "none"]
        command += ["--log-level", "WARNING"]
    return [[*command, *options]]


def _kaiwo_hub(program: str, order: Order) -> Commands:
    """One configuration with one task."""
    place = "cache_dir" if order.action is Action.CACHE else "target_path"
    task = {"type": "hf", "endpoint_url": order.url, "repo_id": hub.REPOSITORY}
    config = order.work / "kaiwo.yaml"
    config.write_text(json.dumps({"download_items": [task | {place: str(order.target)}]}))
    return [[program, "download", str(config), "--progress", "none", "--log-level", "WARNING"]]


def _installed(name: str) -> str | None:
    """A program of this environment, or of the machine."""
    own = Path(sys.executable).with_name(name)
    return str(own) if own.exists() else shutil.which(name)


@functools.cache
def _has_engines(program: str) -> bool:
    said = subprocess.run([program, "download", "--help"], capture_output=True, check=False).stdout
    return b"--engine" in said


def all_tools() -> Mapping[str, Tool]:
    """By name; which of them are installed, they say."""
    kaiwo, python = _installed("kaiwo"), sys.executable
    engines = kaiwo if kaiwo and _has_engines(kaiwo) else None
    tools: Sequence[Tool] = (
        Tool("kaiwo", kaiwo, functools.partial(_kaiwo, ())),
        Tool("kaiwo-obstore", engines, functools.partial(_kaiwo, ("--engine", "obstore"))),
        Tool("kaiwo-fsspec", engines, functools.partial(_kaiwo, ("--engine", "fsspec"))),
        Tool("kaiwo-16", kaiwo, functools.partial(_kaiwo, ("--max-workers", "16"))),
        Tool("kaiwo-256", kaiwo, functools.partial(_kaiwo, ("--max-workers", "256"))),
        Tool("s5cmd", _installed("s5cmd"), peers.s5cmd, peers.aws),
        Tool("rclone", _installed("rclone"), peers.rclone, peers.rclone_env),
        Tool("rclone-modtime", _installed("rclone"), peers.rclone_modtime, peers.rclone_env),
        Tool("boto3", python, functools.partial(peers.script, "boto3_loop"), peers.aws),
        Tool("s3fs", python, functools.partial(peers.script, "s3fs_get"), peers.aws),
        Tool("hf", _installed("hf"), peers.hf, peers.hf_env),
        Tool("curl", _installed("curl"), peers.curl),
        Tool("imports", python, peers.imports),
    )
    return {tool.name: tool for tool in tools}
