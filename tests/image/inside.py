"""Runs in a container of the image, as `python -c`; prints what it finds as one line of JSON."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

_TOOLS = ("pip", "pip3", "gcc", "cc", "g++", "make", "git", "curl", "wget")
_NESTED_CLIENT = re.compile(
    r"""(?:create_(?:nested_)?client|client_creator)\(\s*[^'")]*['"]([a-z0-9-]+)['"]"""
)


def found() -> dict[str, object]:
    """Everything that the checks ask for."""
    import kaiwo  # noqa: PLC0415 - what it costs is part of what is looked at

    for module in pkgutil.walk_packages(kaiwo.__path__, "kaiwo."):
        # The conformance suite needs pytest, which only those who write sources have.
        if not re.match(r"kaiwo\.(testing|suite)\b|.*__main__$", module.name):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if error.name not in extras():
                    raise
    for name in ("adlfs", "aiobotocore.session", "awscrt.s3", "gcsfs", "huggingface_hub", "s3fs"):
        importlib.import_module(name)
    return {
        "python": sys.version.split()[0],
        "user": [os.getuid(), os.getgid()],
        "tools": [tool for tool in _TOOLS if shutil.which(tool)],
        "modules": [name for name in ("pip", "ensurepip") if importlib.util.find_spec(name)],
        "not_compiled": not_compiled(),
        "bytes": sum(sizes(Path("/"))),
        "packages": packages(),
        "missing_services": missing_services(),
        "help_s": min(help_s() for _ in range(5)),
    }


def extras() -> set[str]:
    """The packages that kaiwo's extras bring; the image has none of them."""
    wanted = importlib.metadata.requires("kaiwo") or []
    return {re.split(r"[^\w-]", each)[0] for each in wanted if "extra ==" in each}


def help_s() -> float:
    """The seconds that the command takes to say what it can: its start, and no more."""
    start_s = time.monotonic()
    command = [sys.executable, "-m", "kaiwo.downloader", "--help"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start_s


def sizes(folder: Path) -> list[int]:
    """The bytes of all files of this file system, each once, however many names it has."""
    device = folder.stat().st_dev
    seen: dict[int, int] = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if os.lstat(Path(parent, name)).st_dev == device]
        for name in files:
            with contextlib.suppress(OSError):
                known = os.lstat(Path(parent, name))
                if known.st_dev == device:
                    seen[known.st_ino] = known.st_size
    return list(seen.values())


def packages() -> dict[str, int]:
    """The bytes of each installed package with its bytecode."""
    weights: dict[str, int] = {}
    for package in importlib.metadata.distributions():
        paths = {Path(str(package.locate_file(file))) for file in package.files or ()}
        cached = {Path(importlib.util.cache_from_source(str(path)))
                  for path in paths if path.suffix == ".py"}  # fmt: skip
        present = [path.lstat().st_size for path in paths | cached if path.exists()]
        weights[package.name] = sum(present)
    return weights


def not_compiled() -> list[str]:
    """The loaded modules that have a source, but no bytecode beside it."""
    names = []
    for name, module in sorted(sys.modules.items()):
        cached = getattr(getattr(module, "__spec__", None), "cached", None)
        if cached and name != "__main__" and not Path(cached).exists():
            names.append(name)
    return names


def missing_services() -> list[str]:
    """The services that botocore's and aiobotocore's own code asks, and whose data are not here."""
    import aiobotocore  # noqa: PLC0415 - not everywhere where this file is read
    import botocore  # noqa: PLC0415

    named = {"s3"}
    for package in (aiobotocore, botocore):
        for path in Path(package.__path__[0]).glob("*.py"):
            named |= set(_NESTED_CLIENT.findall(path.read_text(encoding="utf-8")))
    data = Path(botocore.__path__[0], "data")
    return sorted(name for name in named if not (data / name).is_dir())


if __name__ == "__main__":
    print(json.dumps(found()))
