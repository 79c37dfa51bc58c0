"""Which file systems take a file only from its beginning to its end.

Mounts of object stores (mountpoint-s3, goofys, rclone without a cache) refuse to write at an offset
or to open a file that exists. Large objects come there as from a server without ranges: each in a
single stream.
"""

from __future__ import annotations

import os

from kaiwo.jobs import Transfer


class FileSystems:
    """The file systems of a run's targets, by their device numbers."""

    def __init__(self) -> None:
        self._sequential: set[int] = set()

    def is_sequential(self, transfer: Transfer) -> bool:
        """Whether the object's file must be written in one stream, as far as is known."""
        return bool(self._sequential) and _device(transfer) in self._sequential

    def note_sequential(self, transfer: Transfer) -> bool:
        """The object's file could not be written at an offset; returns False if that was known."""
        device = _device(transfer)
        if device is None or device in self._sequential:
            return False
        self._sequential.add(device)
        return True


def _device(transfer: Transfer) -> int | None:
    try:
        return os.stat(os.path.dirname(transfer.temporary)).st_dev
    except OSError:
        return None
