"""How each shard of a plan ended: a small file for each, which the others read.

    {"kaiwo-shard": 1}
    {"plan": "5b0d…", "exit_code": 5, "message": "…"}

A shard that starts removes its own: it is at work again. The one that finds that all have ended
well checks the whole, and says so in a file like these.
"""

from __future__ import annotations

import json

import msgspec
from msgspec import Struct

from kaiwo.state import small_files
from kaiwo.state.folder import result_path
from kaiwo.state.shared_parts import ALL

_HEADER = b'{"kaiwo-shard": 1}'
#: Of a message, that much is kept.
_LONGEST = 1000


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """How a shard ended.

    Attributes:
        plan: the digest of its plan.
        exit_code: as of a run.
        message: why it failed, if it did; without secrets.
    """

    plan: str
    exit_code: int
    message: str = ""


class Results:
    """The results of the shards of a plan.

    Args:
        root: that has the plan.
        plan: its digest.
        token: in the names of its files.
        shards: how many there are.
    """

    def __init__(self, root: str, plan: str, token: str, shards: int) -> None:
        self._root, self._plan, self._token, self._shards = root, plan, token, shards

    def remove(self, index: int) -> None:
        """That shard is at work."""
        small_files.remove(self._path(str(index)))

    def write(self, index: int | str, exit_code: int, message: str = "") -> None:
        """That shard has ended, or all of them.

        Raises:
            DiskError: the file system refused.
        """
        path = self._path(str(index))
        result = {"plan": self._plan, "exit_code": exit_code, "message": message[:_LONGEST]}
        small_files.write(path, [_HEADER, "\n", json.dumps(result), "\n"])

    def read(self) -> dict[int, Result]:
        """The shards that have ended, and how.

        Raises:
            DiskError: one of their files cannot be read.
        """
        found = ((index, self._read(str(index))) for index in range(self._shards))
        return {index: result for index, result in found if result is not None}

    @property
    def are_complete(self) -> bool:
        """All have ended well, and the whole was checked."""
        result = self._read(ALL)
        return result is not None and result.exit_code == 0

    def _path(self, index: str) -> str:
        return result_path(self._root, None, self._token, index)

    def _read(self, index: str) -> Result | None:
        """How that shard ended; None if it is at work, or what is there says nothing."""
        # What cannot be read may say that all are done: then nobody would check the whole.
        found = small_files.beginning(self._path(index), 20 * _LONGEST) or b""
        head, _, line = found.partition(b"\n")
        try:
            result = msgspec.json.decode(line, type=Result) if head == _HEADER else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return result if result is not None and result.plan == self._plan else None
