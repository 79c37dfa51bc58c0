"""The commands of the tools beside kaiwo: as their documents advise, with defaults or better."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench import hub
from tests.bench.buckets import Bucket
from tests.bench.load import MATCHING, Action
from tests.bench.orders import KEYS, REGION, Commands, Order

_CONNECTIONS = 32


def aws(order: Order) -> dict[str, str]:
    """What the SDKs of Amazon read."""
    env = {
        "AWS_ACCESS_KEY_ID": KEYS["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secret_key"],
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return env | ({"AWS_CA_BUNDLE": order.bundle} if order.bundle else {})


def hf(program: str, order: Order) -> Commands:
    """The command of the Hub's own library; by Xet it would go only where the Hub speaks of it."""
    place = "--cache-dir" if order.action is Action.CACHE else "--local-dir"
    return [[program, "download", hub.REPOSITORY, place, str(order.target), "--quiet"]]


def hf_env(order: Order) -> dict[str, str]:
    """Where the Hub is; and that nobody else is to be asked whether there is a newer command."""
    return {"HF_ENDPOINT": order.url, "HF_HUB_DISABLE_UPDATE_CHECK": "1"}


def s5cmd(program: str, order: Order) -> Commands:
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


def s5cmd_told(program: str, order: Order) -> Commands:
    """With its defaults, but for what the load tells it."""
    workers = [option for option in order.told if option.startswith("--numworkers")]
    more = [option for option in order.told if option not in workers]
    command = [program, *workers, "--endpoint-url", order.url, "--log", "error", "cp", *more]
    return [
        [*command, f"s3://{bucket.name}/{_only_name(bucket) or '*'}", f"{order.folder(bucket)}/"]
        for bucket in order.buckets
    ]


def rclone(program: str, order: Order, *more: str) -> Commands:
    """With as many connections as the others."""
    flags = [
        *_rclone_remote(order),
        f"--transfers={_CONNECTIONS}",
        f"--checkers={_CONNECTIONS}",
        "--multi-thread-streams=8",
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


def rclone_told(program: str, order: Order) -> Commands:
    """With its defaults, but for what the load tells it."""
    commands = []
    for bucket in order.buckets:
        source = f":s3:{bucket.name}/{_only_name(bucket)}"
        flags = [*_rclone_remote(order), *order.told]
        commands.append([program, "copy", source, str(order.folder(bucket)), *flags])
    return commands


def _rclone_remote(order: Order) -> list[str]:
    """Where the buckets are, and how they are reached."""
    return [
        "--s3-provider=Other",
        f"--s3-endpoint={order.url}",
        f"--s3-access-key-id={KEYS['access_key_id']}",
        f"--s3-secret-access-key={KEYS['secret_key']}",
        f"--s3-region={REGION}",
        "--s3-list-version=2",
        "--s3-no-check-bucket",
        *([f"--ca-cert={order.bundle}"] if order.bundle else []),
    ]


def _only_name(bucket: Bucket) -> str:
    """The name of a bucket's only object; empty where there are more."""
    return bucket.names()[0] if bucket.count == 1 else ""


def rclone_modtime(program: str, order: Order) -> Commands:
    """With the times of the listing; without this flag a second run asks for every object's own."""
    return rclone(program, order, "--use-server-modtime")


def rclone_env(order: Order) -> dict[str, str]:
    return {"RCLONE_CONFIG": os.devnull, "RCLONE_CACHE_DIR": str(order.work / "rclone")}


def script(name: str, program: str, order: Order) -> Commands:
    """A script of ours beside this file; it reads the connection from AWS_ variables."""
    script = str(Path(__file__).with_name(f"{name}.py"))
    verb = "list" if order.action is Action.LIST else "copy"
    return [
        [program, script, verb, order.url, bucket.name, str(order.folder(bucket)), MATCHING]
        for bucket in order.buckets
    ]


def curl(program: str, order: Order) -> Commands:
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


def wget(program: str, order: Order) -> Commands:
    """One process for each object, two at a time."""
    commands = []
    for bucket in order.buckets:
        urls = order.work / f"{bucket.name}.urls"
        urls.write_text("\n".join(f"{order.url}/{bucket.name}/{key}" for key in bucket.names()))
        each = [program, "--quiet", "--force-directories", "--no-host-directories"]
        each.append(f"--directory-prefix={order.target}")
        commands.append(["xargs", "--max-procs=2", "--max-args=1", f"--arg-file={urls}", *each])
    return commands


def imports(program: str, order: Order) -> Commands:
    """What kaiwo's own imports take before it can begin; it fetches nothing."""
    return [[program, "-c", "import pydantic_settings, typer, yaml, obstore"]]
