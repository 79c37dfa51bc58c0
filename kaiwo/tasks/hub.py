"""The Hugging Face Hub: named files or a whole snapshot, into the Hub's cache or into a folder.

In the cache, kaiwo keeps the library's own layout, so that every other tool finds what is there:

    <cache>/models--owner--repo/
        blobs/<etag>                    the bytes; sha256 of LFS files, git sha1 of the others
        snapshots/<commit>/<file>       links to them
        refs/<revision>                 the commit, written when all of the task is in place
"""

from __future__ import annotations

import contextlib
import logging
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Literal, Self

from msgspec import Struct
from pydantic import model_validator
from pydantic_core import PydanticCustomError

from kaiwo import own_names, redact
from kaiwo.errors import ConfigError, DiskError, UnsafeNameError
from kaiwo.files import documents, memory_limit
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.names import fault_of
from kaiwo.files.placement import Under, expanded, resolve
from kaiwo.jobs import RANGE, Transfer, Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import Folder, Named, Place, RemoteObject
from kaiwo.protocols import Placement, Source
from kaiwo.tasks.base import Context, Location, Task, TaskOpener, require_endpoint
from kaiwo.tasks.items import Address, Secret, Text

logger = logging.getLogger(__name__)
#: Variables of the environment that switch Xet's high-performance mode on.
_SWITCH, _OLD_SWITCH = "HF_XET_HIGH_PERFORMANCE", "HF_HUB_ENABLE_HF_TRANSFER"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


class HfTask(Task):
    """Files of a repository of the Hugging Face Hub."""

    type: Literal["hf"] = "hf"
    repo_id: Text
    """``owner/repo``."""
    repo_type: Literal["model", "dataset", "space"] = "model"
    """What kind of repository."""
    revision: Text = "main"
    """Branch, tag, commit or ``refs/pr/N``."""
    files: tuple[Text, ...] = ()
    """Names of files; all of the repository when it is empty."""
    allow_patterns: tuple[Text, ...] = ()
    """Of a snapshot, only what one of these matches; ``*`` matches ``/`` too."""
    ignore_patterns: tuple[Text, ...] = ()
    """Of a snapshot, nothing that one of these matches."""
    token: Secret | None = None
    """Access token; ``HF_TOKEN`` or the library's login when it is left out."""
    token_file: Text | None = None
    """File that holds it."""
    target_path: Text | None = None
    """Plain files there, instead of the Hub's cache."""
    cache_dir: Text | None = None
    """The Hub's cache; ``HF_HOME`` or the library's default when it is left out."""
    endpoint_url: Address | None = None
    """Address of a mirror; ``HF_ENDPOINT`` or the Hub when it is left out."""
    transport: Literal["auto", "http", "xet"] = "auto"
    """``http``: in ranges, which a killed run goes on with; ``xet``: by the Hub's hf_xet, each file
    above 8 MiB as a whole; ``auto``: ``http``, but what has more than 50 GB by ``xet``."""
    high_performance: bool = False
    """hf_xet's high-performance mode, with ``auto`` as ``xet``; so do the variables
    ``HF_XET_HIGH_PERFORMANCE`` and ``HF_HUB_ENABLE_HF_TRANSFER``."""
    allow_empty: bool = False
    """Nothing matched is no error."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not _REPO_ID.fullmatch(self.repo_id) or ".." in self.repo_id:
            raise PydanticCustomError(
                "repo",
                "repo_id has the form owner/repo; repo_type tells datasets and spaces from models, "
                "and endpoint_url names another host",
            )
        if self.files and (self.allow_patterns or self.ignore_patterns):
            raise PydanticCustomError("files", "files and patterns exclude each other")
        if self.target_path is not None and self.cache_dir is not None:
            raise PydanticCustomError("target", "target_path and cache_dir exclude each other")
        return self

    @property
    def origin(self) -> str:
        """See ``Task``."""
        return redact.url(self.endpoint_url or _library().ENDPOINT)

    def url(self, container: str, key: str = "") -> str:
        """See ``Task``."""
        return self.pinned_url(container, key, self.revision)

    def pinned_url(self, container: str, key: str, version: str) -> str:
        """See ``Task``: the version is the commit."""
        kind = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"hf://{kind}{container}@{version}/{key}"

    def source(self, container: str, network: NetworkSettings) -> Source:
        """See ``Task``: the Hub, or its cache, if ``HF_HUB_OFFLINE`` says that this is enough."""
        if self.target_path is None and _library().is_offline_mode():
            from kaiwo.sources.hub.cache import HubCacheSource  # noqa: PLC0415 - as below

            return HubCacheSource(self.storage(), self.revision, self.url(container))
        xet_above = self._xet_above()
        from kaiwo.sources.hub.source import HubSource  # noqa: PLC0415 - only runs that use it load it

        return HubSource(
            container,
            self.repo_type,
            self.revision,
            token=self.secret("token"),
            endpoint=self.endpoint_url,
            url=self.url(container),
            network=network,
            ca_bundle=self.ca_bundle,
            xet_above=xet_above,
        )

    def _switch(self) -> str | None:
        """What asks for the high-performance mode, if anything does."""
        if self.high_performance:
            return "high_performance"
        return next(
            (name for name in (_OLD_SWITCH, _SWITCH) if _is_true(os.environ.get(name))), None
        )

    def _xet_above(self) -> int | None:
        """Files of more bytes are to come by Xet; None: no file. Says so, where it was asked for.

        Raises:
            ConfigError: there is no hf_xet, and no other way is allowed.
        """
        from kaiwo.sources.hub import xet  # noqa: PLC0415 - only runs that use it load it

        switch, repository = self._switch(), self.url(self.repo_id).rstrip("/")
        needed, disabled = self.transport == "xet", _library().HF_HUB_DISABLE_XET
        if not needed and (switch is None or self.transport == "http" or disabled):
            if switch:
                why = "transport: http" if self.transport == "http" else "HF_HUB_DISABLE_XET is set"
                logger.info("%s: plain HTTP, for %s, whatever %s says", repository, why, switch)
            allowed = self.transport == "auto" and not disabled and xet.is_installed()
            return int(_library().MAX_HTTP_DOWNLOAD_SIZE) if allowed else None
        if xet.load(high_performance=switch is not None) is None:
            if needed:
                raise ConfigError("transport: xet needs hf_xet, which cannot be loaded; install it")
            logger.info("%s: plain HTTP, for hf_xet cannot be loaded (%s)", repository, switch)
            return None
        mode = f" in its high-performance mode ({switch})" if switch else ""
        logger.info("%s: files above 8 MiB come by Xet%s", repository, mode)
        self._warn_of_xet(xet.LEAST_MEMORY)
        return RANGE

    def _warn_of_xet(self, least_memory: int) -> None:
        """Say what hf_xet lacks here, while transport: http would not."""
        memory = memory_limit.memory_limit()
        if memory is not None and memory < least_memory:
            text = (
                "hf_xet needs 512 MiB of memory, the limit here is %d MiB; transport: http does not"
            )
            logger.warning(text, memory >> 20)
        if self.ca_bundle is not None and not os.environ.get("SSL_CERT_FILE"):
            logger.warning(
                "hf_xet is not told of ca_bundle, and trusts the system's certificates; if its "
                "store needs others, set SSL_CERT_FILE, too, or transport: http"
            )

    def wants(self, context: Context) -> Iterator[Want]:
        """See ``Task``: of one opener, so that the revision is resolved once for all files."""
        if _is_true(os.environ.get(_OLD_SWITCH)):
            # What it means today; before the library is loaded, which warns of it otherwise.
            os.environ.setdefault(_SWITCH, "1")
        if self.endpoint_url is None:
            try:
                require_endpoint(_library().ENDPOINT)
            except ConfigError as error:
                raise ConfigError(f"HF_ENDPOINT: {error.message}") from None
        opener = TaskOpener(self, self.repo_id, context.network, self.origin)
        placement = self.placement(context.download_root)
        selections: list[tuple[Location, Folder | Named]] = [
            (("files", index), Named((name,))) for index, name in enumerate(self.files)
        ]
        if not selections:
            patterns = self.allow_patterns, self.ignore_patterns
            selections = [((), Folder("", *patterns, syntax="name"))]
        for location, selection in selections:
            where = context.where(location)
            yield Want(self.label, where, opener, selection, placement, self.allow_empty)

    def placement(self, download_root: str) -> Placement:
        """Where its files go: the folder that was named, or the cache.

        Raises:
            DiskError: the cache cannot be written.
        """
        if self.target_path is not None:
            return Under(*resolve(self.target_path, download_root, is_file=False))
        storage = self.storage()
        if _library().is_offline_mode():  # what is not there is not there
            return InHubCache(storage)
        there = storage
        while not os.path.lexists(there):
            there = posixpath.dirname(there)
        if not (os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)):
            raise DiskError(
                f"cannot write below {there}; set HF_HOME or cache_dir to a writable folder"
            )
        return InHubCache(storage)

    def storage(self) -> str:
        """The repository's folder in the cache."""
        try:
            cache = os.path.abspath(expanded(self.cache_dir or _library().HF_HUB_CACHE))
        except ConfigError as error:
            hint = "set HF_HOME or cache_dir to a writable folder"
            raise DiskError(
                f"the Hub's cache is in the home folder, and there is none; {hint}"
            ) from error
        # As the library's repo_folder_name puts it.
        return posixpath.join(cache, "--".join((f"{self.repo_type}s", *self.repo_id.split("/"))))

    def settle(self, transfers: Sequence[Transfer]) -> None:
        """Let the revision's name point to the commit, now that it is there.

        Raises:
            DiskError: the cache cannot be written.
        """
        if self.target_path is not None or not transfers or _COMMIT.fullmatch(self.revision):
            return
        path = posixpath.join(self.storage(), "refs", self.revision)
        commit = str(transfers[0].object.version)
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            if file.read() == commit:
                return
        # Always the same name: what a killed run left of it is replaced.
        folder, name = posixpath.split(path)
        temporary = posixpath.join(folder, own_names.part_name(name))
        try:
            os.makedirs(folder, exist_ok=True)
            documents.replace(path, [commit], temporary)
        except OSError as error:
            raise disk_error(error, path) from error


def _library() -> ModuleType:
    """What the Hub's library takes from its environment; only runs that use it load it."""
    from huggingface_hub import constants  # noqa: PLC0415

    return constants


def _is_true(value: str | None) -> bool:
    """As the Hub's library reads its variables."""
    return (value or "").upper() in {"1", "ON", "YES", "TRUE"}


class InHubCache(Struct, frozen=True):
    """The place of a file in the Hub's cache.

    Attributes:
        storage: the repository's folder.
    """

    storage: str

    def place(self, remote: RemoteObject) -> Place:
        """A link in the snapshot, the bytes in a blob."""
        for name in (remote.key, remote.etag or "", remote.version or ""):
            if fault := fault_of(name):
                raise UnsafeNameError(f"file {remote.key!r}: {fault}")
        snapshot = posixpath.join(self.storage, "snapshots", str(remote.version))
        blob = posixpath.join(self.storage, "blobs", remote.etag) if remote.etag else None
        return Place(posixpath.join(snapshot, remote.key), self.storage, blob)
