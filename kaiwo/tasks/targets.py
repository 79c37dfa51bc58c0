"""Targets of items that are known without asking any service."""

from __future__ import annotations

from kaiwo.errors import ConfigError
from kaiwo.files.placement import At, resolve
from kaiwo.tasks.items import FileItem, FolderItem, selected


def named_target(item: FolderItem | FileItem, download_root: str) -> str | None:
    """The path of an item that names one file which must be there; None for others."""
    if isinstance(item, FolderItem) or item.allow_empty:
        return None
    try:
        _, placement = selected(item, download_root)
    except ConfigError:
        return None
    return placement.path if isinstance(placement, At) else None


def snapshot_target(item: FolderItem | FileItem, download_root: str) -> str | None:
    """The path of an item whose files change all at once; None for others."""
    if isinstance(item, FileItem) or item.publish != "snapshot":
        return None
    try:
        return resolve(item.target_path, download_root, is_file=False)[0]
    except ConfigError:
        return None
