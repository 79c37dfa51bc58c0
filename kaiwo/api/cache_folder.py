"""A folder of whole files that keeps within a size: what was opened longest ago is removed first.

    <folder>/kaiwo-<sha256 of the URL>    a file; its time of access says when it was opened last
    <folder>/.kaiwo/                      kaiwo's memory of these files, see ``kaiwo/state``

Files with other names are not kaiwo's: they do not count, and stay. (fsspec's own caches name
theirs by a bare sha256.)

A file is removed by its name only. Who has it open reads it to its end, and its room is free then.
Several processes may use a folder; a file that one of them removes is fetched again by another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Collection, Sequence
from typing import BinaryIO

from msgspec import Struct

from kaiwo import units
from kaiwo.errors import DiskError
from kaiwo.jobs import Plan
from kaiwo.own_names import is_temporary

_NAME = re.compile(r"kaiwo-[0-9a-f]{64}")


class _Kept(Struct, frozen=True):
    """A file of the folder.

    Attributes:
        path: of it.
        size: in bytes.
        opened_ns: when it was opened last, in nanoseconds since 1970.
    """

    path: str
    size: int
    opened_ns: int


class CacheFolder:
    """See the module's docstring.

    Args:
        path: absolute path of the folder.
        limit: how many bytes it may hold.
    """

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit

    def place(self, identity: Sequence[str]) -> str:
        """The path of the file that has this identity, such as its URL."""
        digest = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogateescape"))
        return f"{self._path}/kaiwo-{digest.hexdigest()}"

    def open(self, path: str) -> BinaryIO:
        """Open a file, and note that it was opened now.

        Raises:
            FileNotFoundError: another process has removed it.
        """
        file = open(path, "rb")  # noqa: SIM115 - for the caller
        with contextlib.suppress(OSError):
            # By descriptor: by path, it could be another file by now. kaiwo goes by the other time.
            modified_ns = os.fstat(file.fileno()).st_mtime_ns
            os.utime(file.fileno(), ns=(time.time_ns(), modified_ns))
        return file

    def make_room(self, plan: Plan) -> None:
        """Remove files until there is room for what will be fetched.

        Raises:
            DiskError: it is more than the folder may hold.
        """
        missing = [each for each in plan.transfers if not each.present]
        if not missing:
            return
        there = {each.target for each in plan.unchanged}
        there |= {each.target for each in plan.transfers if each.present}
        coming = sum(each.object.size for each in missing)
        sizes = {each.path: each.size for each in self._files()}
        needed = coming + sum(sizes.get(path, 0) for path in there)
        if needed > self._limit:
            source = max(missing, key=lambda each: each.object.size).source
            raise DiskError(
                f"{source}: {units.exact_size(needed)} is more than the cache {self._path} may "
                f"hold ({units.exact_size(self._limit)}); raise cache_limit, or open the URL "
                "without kaiwo:: to read parts of it"
            )
        # What is replaced is gone then.
        replaced = sum(sizes.get(each.target, 0) for each in missing)
        self.trim(there | {each.target for each in missing}, coming - replaced)

    def trim(self, keep: Collection[str], coming: int = 0) -> None:
        """Remove files, those first that were opened longest ago, until the size is kept.

        Args:
            keep: paths of files that stay.
            coming: bytes that will be added.
        """
        files = self._files()
        size = sum(each.size for each in files) + coming
        for each in sorted(files, key=lambda each: each.opened_ns):
            if size <= self._limit:
                return
            if each.path in keep or is_temporary(os.path.basename(each.path)):
                continue
            with contextlib.suppress(OSError):
                os.remove(each.path)
                size -= each.size

    def _files(self) -> list[_Kept]:
        """The files of kaiwo in the folder, temporary ones included."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._path) as entries:
            for entry in entries:
                if not (_NAME.fullmatch(entry.name) or is_temporary(entry.name)):
                    continue
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_file(follow_symlinks=False):
                        found.append(_Kept(entry.path, status.st_size, status.st_atime_ns))
        return found
