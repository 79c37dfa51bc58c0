"""The Hub's cache instead of the Hub: one repository, when no request may be sent.

    refs/<revision>           the commit
    trees/<commit>.json       all files of it, if the Hub's library has listed them
    snapshots/<commit>/       else: the files that were fetched; links to blobs/<etag>

The objects are those that the Hub would list, so the same manifest and the same checksums decide
what is in place. Nothing can be read: a missing file is an error that says so. Without
``trees/``, the files that are there count as all files, with a warning.

See docs/decisions/0037.
"""

from __future__ import annotations

import json
import logging
import os
import posixpath
import re
from collections.abc import Iterable, Iterator

from kaiwo.errors import KaiwoError, NotFoundError, ServiceError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import PIECE, Buffer
from kaiwo.sources.base import StoreSource
from kaiwo.sources.hub.blobs import of_blob

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TREE_VERSION = 1
logger = logging.getLogger(__name__)


class HubCacheSource(StoreSource):
    """The files of one repository that are in the cache.

    Args:
        storage: the repository's folder in the cache.
        revision: branch, tag, commit or ``refs/pr/N``.
        url: ``hf://[datasets/]owner/repo@revision/``.
    """

    def __init__(self, storage: str, revision: str, url: str) -> None:
        super().__init__(url)
        self._storage = storage
        self._revision = revision

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        commit = self._commit()
        found: Iterable[RemoteObject] = self._list_tree(commit)
        if not found:
            logger.warning(
                "%s: the Hub's cache has no list of all files; the files that it holds "
                "are taken for all",
                self._url.rstrip("/"),
            )
            found = self._list_snapshot(commit)
        yield from (each for each in found if each.key.startswith(prefix))

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        snapshot = self._snapshot(self._commit())
        path = posixpath.join(snapshot, key)
        if os.path.isdir(path):
            raise NotFoundError(f"{self._url}{key} is a folder in the Hub's cache")
        if not os.path.lexists(path):
            raise self._missing(key)
        return self._describe(snapshot, key)

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:  # noqa: ARG002
        """See ``protocols.Source``."""
        raise self._missing(remote.key)

    def stream(
        self,
        remote: RemoteObject,
        start: int = 0,  # noqa: ARG002
        end: int | None = None,  # noqa: ARG002
        piece: int = PIECE,  # noqa: ARG002
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        raise self._missing(remote.key)

    def _commit(self) -> str:
        """The commit of the revision when it was last fetched."""
        commit = self._revision
        if not _COMMIT.fullmatch(commit):
            try:
                with open(posixpath.join(self._storage, "refs", commit), encoding="ascii") as file:
                    commit = file.read().strip()
            except (OSError, ValueError):
                raise self._missing("") from None
        if not os.path.isdir(self._snapshot(commit)):
            raise self._missing("")
        return commit

    def _snapshot(self, commit: str) -> str:
        return posixpath.join(self._storage, "snapshots", commit)

    def _list_tree(self, commit: str) -> tuple[RemoteObject, ...]:
        """All files of the commit if the library has listed them, else none."""
        path = posixpath.join(self._storage, "trees", f"{commit}.json")
        try:
            with open(path, encoding="utf-8") as file:
                tree = json.load(file)
            if tree["format_version"] != _TREE_VERSION:
                return ()
            return tuple(
                of_blob(key, int(each["size"]), each.get("lfs_sha256") or each["blob_id"], commit)
                for key, each in tree["files"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ()

    def _list_snapshot(self, commit: str) -> Iterator[RemoteObject]:
        """The files of the commit that the cache holds."""
        snapshot = self._snapshot(commit)
        for folder, _, names in os.walk(snapshot):
            for name in names:
                path = posixpath.join(folder, name)
                yield self._describe(snapshot, posixpath.relpath(path, snapshot))

    def _describe(self, snapshot: str, key: str) -> RemoteObject:
        """A file as its link states it; a broken link has size 0."""
        path = posixpath.join(snapshot, key)
        try:
            size = os.stat(path).st_size
        except OSError:
            size = 0
        try:
            blob = posixpath.basename(os.readlink(path))
        except OSError:
            blob = None  # not a link, so its checksum is unknown
        return of_blob(key, size, blob, posixpath.basename(snapshot))

    def _missing(self, key: str) -> ServiceError:
        what = f"{self._url}{key}" if key else self._url.rstrip("/")
        return ServiceError(
            f"{what} is not in the Hub's cache, and HF_HUB_OFFLINE forbids requests to the Hub; "
            "run once without HF_HUB_OFFLINE"
        )

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, OSError):
            return ServiceError(f"{what}: the Hub's cache cannot be read: {error.strerror}")
        return None
