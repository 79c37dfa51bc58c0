"""Folders of this machine as sources, and what their snapshots hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kaiwo
from tests.support.command import configured

ITEM: dict[str, Any] = {"folder": "m", "target_path": "m", "publish": "snapshot"}


def fill(source: Path, files: Mapping[str, bytes]) -> None:
    """Let the source have these files and no others; what is the same is not touched."""
    for path in [each for each in source.rglob("*") if each.is_file()]:
        if str(path.relative_to(source)) not in files:
            path.unlink()
    for name, data in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


def of_folder(source: Path, **fields: Any) -> dict[str, Any]:
    return {"type": "url", "items": [ITEM | {"folder": f"file://{source}"} | fields]}


def run(tmp_path: Path, *tasks: dict[str, Any], **options: Any) -> kaiwo.Report:
    return kaiwo.download(configured(tmp_path, *tasks), progress="none", **options)


def numbers(out: Path) -> list[str]:
    """The generations that are there."""
    return sorted(os.listdir(out / ".kaiwo-m.generations"))
