"""What it ran on: the versions, and no names."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from importlib import metadata
from typing import Any

from tests.bench import nginx, serve
from tests.bench.tools import all_tools


def described() -> dict[str, Any]:
    """Date, machine, versions of the tools."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = platform.release().partition("-")[0]
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {
            "cores": os.cpu_count(),
            "memory_gib": round(memory / 2**30),
            "system": f"{platform.system()} {kernel} {platform.machine()}",
            "python": platform.python_version(),
        },
        "server": serve.name(),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Of the tools, and of the server."""
    tools = all_tools()
    found = {}
    for name, arguments in {"s5cmd": ["version"], "rclone": ["version"], "curl": ["-V"]}.items():
        if program := tools[name].program:
            said = _first_line([program, *arguments])
            found[name] = said.removeprefix(name).split()[0].removeprefix("v").split("-")[0]
    if program := nginx.program():
        found["nginx"] = _first_line([program, "-v"]).rpartition("/")[2]
    for package in (
        "kaiwo",
        "awscrt",
        "boto3",
        "s3fs",
        "obstore",
        "aiobotocore",
        "huggingface_hub",
    ):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(found.items()))


def _first_line(command: list[str]) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return done.stdout.splitlines()[0]
