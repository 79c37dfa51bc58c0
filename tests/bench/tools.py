"""How each tool is asked for the same work: as its documents advise, with their defaults or better.

Every tool is a whole process, started from nothing, and puts a bucket's objects into a folder of
the bucket's name.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import hub
from tests.bench.buckets import Bucket
from tests.bench.loads import MATCHING, Action
from tests.bench.nginx import Endpoint

KEYS = {"access_key_id": "kaiwo-access-key", "secret_key": "kaiwo-secret-key"}
_REGION = "us-east-1"
_CONNECTIONS = 32

Commands = list[list[str]]


@dataclass(frozen=True)
class Order:
    """What a tool is asked for.

    Attributes:
        action: what to do with the buckets.
        buckets: all of them over TLS, or none.
        endpoint: where they are.
        target: the folder for the objects.
        work: a folder for the tool's own files.
    """

    action: Action
    buckets: tuple[Bucket, ...]
    endpoint: Endpoint
    target: Path
    work: Path

    @property
    def tls(self) -> bool:
        """Whether the server has to be reached over TLS."""
        return any(bucket.tls for bucket in self.buckets)

    @property
    def url(self) -> str:
        """Of the server."""
        return self.endpoint.tls if self.tls else self.endpoint.plain

    @property
    def bundle(self) -> str:
        """The file of the certificate to trust; empty without TLS."""
        return str(self.endpoint.bundle) if self.tls else ""

    def folder(self, bucket: Bucket) -> Path:
        """Where the objects of a bucket belong."""
        top = self.target / hub.SNAPSHOT if self.action is Action.CACHE else self.target
        return top / bucket.name


@dataclass(frozen=True)
class Tool:
    """A tool.

    Attributes:
        name: in the results.
        program: the file to run; None if it is not installed.
        commands: what to run, one after the other.
        env: what it needs in the environment, besides what all get.
    """

    name: str
    program: str | None
    commands: Callable[[str, Order], Commands]
    env: Callable[[Order], dict[str, str]] = lambda _: {}


def environment(tool: Tool, order: Order) -> dict[str, str]:
    """All of it: nothing of the user's configuration reaches a tool."""
    home = order.work / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "NO_PROXY": "*",
        **tool.env(order),
    }


def _aws(order: Order) -> dict[str, str]:
    """What the SDKs of Amazon read."""
    env = {
        "AWS_ACCESS_KEY_ID": KEYS["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secret_key"],
        "AWS_REGION": _REGION,
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return env | ({"AWS_CA_BUNDLE": order.bundle} if order.bundle else {})


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
            "region": _REGION,
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


def _hf(program: str, order: Order) -> Commands:
    """The command of the Hub's own library; by Xet it would go only where the Hub speaks of it."""
    place = "--cache-dir" if order.action is Action.CACHE else "--local-dir"
    return [[program, "download", hub.REPOSITORY, place, str(order.target), "--quiet"]]


def _hf_env(order: Order) -> dict[str, str]:
    """Where the Hub is; and that nobody else is to be asked whether there is a newer command."""
    return {"HF_ENDPOINT": order.url, "HF_HUB_DISABLE_UPDATE_CHECK": "1"}


def _s5cmd(program: str, order: Order) -> Commands:
    """With 256 workers, its default, and for a single object as many parts as serve it best.

    Its default of 5 parts takes three times as long here as 2: they write to one file, and wait for
    one another in the kernel. Where a connection is limited, it gets as many as rclone.
    """
    commands = []
    for bucket in order.buckets:
        command = [program, "--endpoint-url", order.url, "--log", "error"]
        folder = f"{order.folder(bucket)}/"
        if order.action is Action.LIST:
            # it prints what it finds as a log of level info
            command[-1] = "info"
            command += ["ls", f"s3://{bucket.name}/*{MATCHING}"]
        elif order.action is Action.AGAIN:
            command += ["sync", f"s3://{bucket.name}/*", folder]
        elif bucket.count == 1:
            parts = ["--concurrency=8", "--part-size=16"] if bucket.rate else ["--concurrency=2"]
            command += ["cp", *parts, f"s3://{bucket.name}/{bucket.names()[0]}", folder]
        else:
            command += ["cp", f"s3://{bucket.name}/*", folder]
        commands.append(command)
    return commands


def _rclone(program: str, order: Order, *more: str) -> Commands:
    """With as many connections as the others."""
    flags = [
        "--s3-provider=Other",
        f"--s3-endpoint={order.url}",
        f"--s3-access-key-id={KEYS['access_key_id']}",
        f"--s3-secret-access-key={KEYS['secret_key']}",
        f"--s3-region={_REGION}",
        "--s3-list-version=2",
        "--s3-no-check-bucket",
        f"--transfers={_CONNECTIONS}",
        f"--checkers={_CONNECTIONS}",
        "--multi-thread-streams=8",
        *([f"--ca-cert={order.bundle}"] if order.bundle else []),
    ]
    commands = []
    for bucket in order.buckets:
        remote = f":s3:{bucket.name}"
        if order.action is Action.LIST:
            command = ["lsf", "-R", "--fast-list", f"--include=*{MATCHING}", remote]
        elif bucket.count == 1:
            command = ["copy", f"{remote}/{bucket.names()[0]}", str(order.folder(bucket))]
        else:
            command = ["copy", remote, str(order.folder(bucket))]
        commands.append([program, *command, *flags, *more])
    return commands


def _rclone_modtime(program: str, order: Order) -> Commands:
    """With the times of the listing; without this flag a second run asks for every object's own."""
    return _rclone(program, order, "--use-server-modtime")


def _rclone_env(order: Order) -> dict[str, str]:
    return {"RCLONE_CONFIG": os.devnull, "RCLONE_CACHE_DIR": str(order.work / "rclone")}


def _script(name: str, program: str, order: Order) -> Commands:
    """A script of ours beside this file; it reads the connection from AWS_ variables."""
    script = str(Path(__file__).with_name(f"{name}.py"))
    verb = "list" if order.action is Action.LIST else "copy"
    return [
        [program, script, verb, order.url, bucket.name, str(order.folder(bucket)), MATCHING]
        for bucket in order.buckets
    ]


def _curl(program: str, order: Order) -> Commands:
    """All names are told to it: no listing, no checks, no signatures; the limit of a client."""
    lines = ["fail", "silent", "show-error", "no-progress-meter", "create-dirs"]
    lines += ["parallel", "parallel-max = 64"]
    if order.bundle:
        lines.append(f'cacert = "{order.bundle}"')
    for bucket in order.buckets:
        for key in bucket.names():
            lines.append(f'url = "{order.url}/{bucket.name}/{key}"')
            lines.append(f'output = "{order.folder(bucket) / key}"')
    config = order.work / "curl.conf"
    config.write_text("\n".join(lines))
    return [[program, "--disable", "--config", str(config)]]


def _imports(program: str, order: Order) -> Commands:
    """What kaiwo's own imports take before it can begin; it fetches nothing."""
    return [[program, "-c", "import pydantic_settings, typer, yaml, obstore"]]


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
        Tool("s5cmd", _installed("s5cmd"), _s5cmd, _aws),
        Tool("rclone", _installed("rclone"), _rclone, _rclone_env),
        Tool("rclone-modtime", _installed("rclone"), _rclone_modtime, _rclone_env),
        Tool("boto3", python, functools.partial(_script, "boto3_loop"), _aws),
        Tool("s3fs", python, functools.partial(_script, "s3fs_get"), _aws),
        Tool("hf", _installed("hf"), _hf, _hf_env),
        Tool("curl", _installed("curl"), _curl),
        Tool("imports", python, _imports),
    )
    return {tool.name: tool for tool in tools}
