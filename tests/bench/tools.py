"""Every tool by its name, and how kaiwo is asked for the same work as its peers.

Every tool is a whole process, started from nothing, and puts a bucket's objects into a folder of
the bucket's name.
"""

from __future__ import annotations

import compileall
import functools
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kaiwo.locks import lock_file
from kaiwo.locks.lock_file import Entry, Lock, LockedItem
from tests.bench import hub, peers
from tests.bench.buckets import MTIME, content
from tests.bench.load import MATCHING, Action
from tests.bench.orders import KEYS, REGION, Commands, Order, Tool
from tests.servers import ROOT


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


def kaiwo_of(checkout: Path, name: str = "kaiwo", *options: str) -> Tool:
    """The kaiwo of a checkout, run by this environment."""
    # compiled before the first round, which would pay for it
    compileall.compile_dir(checkout / "kaiwo", quiet=2)
    command = functools.partial(_kaiwo, options)
    return Tool(
        name, _installed("kaiwo"), command, lambda _: {"PYTHONPATH": str(checkout.resolve())}
    )


def _lock(order: Order) -> None:
    """Writes the lock. Its digests prove the bytes, as those of stores do; nginx states none."""
    items = []
    for bucket in order.buckets:
        entries = []
        for number, key in enumerate(bucket.names()):
            digest = hashlib.sha256(b"".join(content(number, bucket.size))).hexdigest()
            url, target = f"s3://{bucket.name}/{key}", f"{bucket.name}/{key}"
            etag = f"{MTIME:x}-{bucket.size:x}"
            entries.append(Entry(url, target, bucket.size, key, f"sha256:{digest}", etag))
        items.append(LockedItem(f"s3://{bucket.name}/**/*", tuple(entries)))
    lock_file.write(str(order.work / "kaiwo.lock"), Lock(tuple(items)))


def all_tools() -> Mapping[str, Tool]:
    """By name; which of them are installed, they say."""
    python = sys.executable
    tools: Sequence[Tool] = (
        kaiwo_of(ROOT),
        kaiwo_of(ROOT, "kaiwo-obstore", "--engine", "obstore"),
        kaiwo_of(ROOT, "kaiwo-fsspec", "--engine", "fsspec"),
        replace(kaiwo_of(ROOT, "kaiwo-locked", "--locked"), before=_lock),
        Tool("s5cmd", _installed("s5cmd"), peers.s5cmd, peers.aws),
        Tool("s5cmd-defaults", _installed("s5cmd"), peers.s5cmd_told, peers.aws),
        Tool("s5cmd-told", _installed("s5cmd"), peers.s5cmd_told, peers.aws),
        Tool("rclone", _installed("rclone"), peers.rclone, peers.rclone_env),
        Tool("rclone-defaults", _installed("rclone"), peers.rclone_told, peers.rclone_env),
        Tool("rclone-told", _installed("rclone"), peers.rclone_told, peers.rclone_env),
        Tool("rclone-modtime", _installed("rclone"), peers.rclone_modtime, peers.rclone_env),
        Tool("boto3", python, functools.partial(peers.script, "boto3_loop"), peers.aws),
        Tool("s3fs", python, functools.partial(peers.script, "s3fs_get"), peers.aws),
        Tool("awscrt", python, functools.partial(peers.script, "awscrt_get"), peers.aws),
        Tool("hf", _installed("hf"), peers.hf, peers.hf_env),
        Tool("curl", _installed("curl"), peers.curl),
        Tool("wget", _installed("wget"), peers.wget),
        Tool("imports", python, peers.imports),
    )
    return {tool.name: tool for tool in tools}
