"""The Hugging Face Hub: named files or a whole snapshot, into the Hub's cache or into a folder.

Longer than 300 lines: the fields of a repository, and what follows from them.
"""

from __future__ import annotations

import contextlib
import logging
import posixpath
import re
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Annotated, Any, Literal

from msgspec.structs import replace
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from kaiwo import redact
from kaiwo.errors import ConfigError, CredentialsError, NotFoundError
from kaiwo.files.placement import At, resolve
from kaiwo.jobs import Transfer, Want
from kaiwo.loading import loading
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import Folder, Item, Named
from kaiwo.protocols import Placement, Source
from kaiwo.tasks import hub_cache, hub_xet, upkeep
from kaiwo.tasks.base import Context, Location, Task, TaskOpener
from kaiwo.tasks.fetch_request import FetchRequest, HubUrl
from kaiwo.tasks.fields import (
    FileName,
    LocalPath,
    MirrorEndpoint,
    Secret,
    TargetPath,
    Text,
    matching,
    require_endpoint,
)
from kaiwo.tasks.hub_cache import InHubCache
from kaiwo.tasks.items import request_selection
from kaiwo.tasks.secrets import SecretFile
from kaiwo.tasks.upkeep import KEEP_GENERATIONS, PRUNE, PUBLISH, READY_FILE, Publish, under
from kaiwo.workers.globs import not_meant

logger = logging.getLogger(__name__)
_REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


class HfTask(Task):
    """Files of a repository of the Hugging Face Hub."""

    has_cache = True

    type: Literal["hf"] = Field("hf", description="The task type.")
    repo_id: Annotated[
        Text, matching(r"(?!.*\.\.)[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)?", "openai-community/gpt2")
    ] = Field(description="``owner/repo``.")
    repo_type: Literal["model", "dataset", "space"] = Field(
        "model", description="Kind of the repository."
    )
    revision: Text = Field("main", description="Branch, tag, commit or ``refs/pr/N``.")
    files: tuple[Text, ...] = Field(
        (), description="Names of files. Default: all files of the repository."
    )
    allow_patterns: tuple[Text, ...] = Field(
        (), description="Only files that match one of these; ``*`` matches ``/`` too."
    )
    ignore_patterns: tuple[Text, ...] = Field((), description="No files that match one of these.")
    token: Secret | None = Field(
        None,
        description="Access token. Default, for the Hub itself and ``HF_ENDPOINT``: ``HF_TOKEN``, "
        "else the library's login.",
    )
    token_file: SecretFile | None = Field(None, description="File with the access token.")
    target_path: TargetPath | None = Field(
        None,
        description="Folder for plain files, instead of the Hugging Face cache; ``~`` is the home "
        "folder.",
    )
    cache_dir: LocalPath | None = Field(
        None,
        description="The Hugging Face cache. Default: ``HF_HOME``, else the library's default.",
    )
    endpoint_url: MirrorEndpoint | None = Field(
        None, description="Address of a mirror. Default: ``HF_ENDPOINT``, else the Hub."
    )
    transport: Literal["auto", "http", "xet"] = Field(
        "auto",
        description=(
            "``http``: in ranges, which a later run can resume. ``xet``: through hf_xet, each file "
            "above 8 MiB as a whole. ``auto``: ``http``, and ``xet`` for files above 50 GB."
        ),
    )
    high_performance: bool = Field(
        False,
        description="hf_xet's high-performance mode; ``auto`` then means ``xet``. The variables "
        "``HF_XET_HIGH_PERFORMANCE`` and ``HF_HUB_ENABLE_HF_TRANSFER`` do the same.",
    )
    allow_empty: bool = Field(False, description="It is no error if nothing matches.")
    prune: bool = Field(False, description=PRUNE)
    ready_file: FileName | None = Field(None, description=READY_FILE)
    publish: Publish = Field("files", description=PUBLISH)
    keep_generations: int | None = Field(None, ge=1, description=KEEP_GENERATIONS)

    @field_validator("repo_id")
    @classmethod
    def _owner_and_name(cls, value: str) -> str:
        if not _REPO_ID.fullmatch(value) or ".." in value:
            raise PydanticCustomError(
                "repo",
                "repo_id must have the form owner/repo; use repo_type for datasets and spaces, and "
                "endpoint_url for another host",
            )
        return value

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """See ``Task``."""
        yield from super().contradictions()
        for name in ("allow_patterns", "ignore_patterns"):
            if self.files and getattr(self, name):
                yield name, "files and patterns exclude each other"
                break
        if self.target_path is not None and self.cache_dir is not None:
            yield "cache_dir", "target_path and cache_dir exclude each other"
        yield from upkeep.contradictions(self)
        for name in ("prune", "ready_file") if self.target_path is None else ():
            if getattr(self, name):
                yield name, f"{name} needs target_path"
        if self.publish == "snapshot" and self.target_path is None:
            yield "publish", "publish: snapshot needs target_path"
        if self.prune and self.files:
            yield "prune", "prune and files exclude each other"

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
        """See ``Task``: the Hub, or only its cache where ``HF_HUB_OFFLINE`` is set."""
        if self.target_path is None and _library().is_offline_mode():
            with loading():
                from kaiwo.sources.hub.cache import HubCacheSource  # noqa: PLC0415 - as below

            return HubCacheSource(self.storage(), self.revision, self.url(container))
        xet_above = hub_xet.choose(self)
        with loading():
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
            client=(self.client_certificate, self.client_key),
            xet_above=xet_above,
        )

    def wants(self, context: Context) -> Iterator[Want]:
        """See ``Task``; one opener, so that the revision is resolved once for all files."""
        hub_xet.rename_switch()
        if self.endpoint_url is None:
            try:
                require_endpoint(_library().ENDPOINT, user_info=True)
            except ConfigError as error:
                raise ConfigError(f"HF_ENDPOINT: {error.message}") from None
        self._say_withheld()
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

    def signed_folder(self, selection: Folder | Named) -> str:  # noqa: ARG002
        """See ``Task``: a repository is one model."""
        return ""

    def named_targets(self, download_root: str) -> Iterator[tuple[Location, str, str]]:
        """See ``Task``."""
        if self.target_path is None or self.allow_empty:
            return
        with contextlib.suppress(ConfigError):
            folder, _ = resolve(self.target_path, download_root, is_file=False)
            for index, name in enumerate(self.files):
                source = f"{self.endpoint_url} {self.url(self.repo_id, name)}"
                yield ("files", index), source, posixpath.normpath(posixpath.join(folder, name))

    def snapshots(self, download_root: str) -> Iterator[tuple[Location, str]]:
        """See ``Task``."""
        if self.target_path is not None and self.publish == "snapshot":
            with contextlib.suppress(ConfigError):
                folder, _ = resolve(self.target_path, download_root, is_file=False)
                yield ("target_path",), folder

    def globs_not_meant(self) -> Iterator[tuple[Location, str, str]]:
        """See ``Task``."""
        for index, name in enumerate(self.files):
            if (found := not_meant(name, is_glob=False)) is not None:
                yield ("files", index), found[0], "for patterns, use 'allow_patterns'"

    def _say_withheld(self) -> None:
        """Log that the endpoint does not get the token of the environment or of a login."""
        endpoint = self.endpoint_url
        if endpoint is None or self.given("token"):
            return
        with loading():
            from kaiwo.sources.hub import tokens  # noqa: PLC0415 - as below

        with contextlib.suppress(CredentialsError):
            if not tokens.may_go_to(endpoint) and tokens.find():
                logger.warning(
                    "%s: the token of the environment or of a login is not sent to %s; if it is "
                    "meant for it, give token or token_file, or set HF_ENDPOINT to that address",
                    self.label,
                    redact.url(endpoint),
                )

    def placement(self, download_root: str) -> Placement:
        """Where the files go: the target folder, or the cache."""
        if self.target_path is not None:
            return under(self, *resolve(self.target_path, download_root, is_file=False))
        symlinks = not _library().HF_HUB_DISABLE_SYMLINKS
        return InHubCache(self.storage(), self.revision, symlinks=symlinks)

    def require_writable(self, transfers: Sequence[Transfer]) -> None:
        """See ``Task``; offline, nothing is written: what is missing is an error."""
        if transfers and self.target_path is None and not _library().is_offline_mode():
            hub_cache.require_writable(self.storage())

    def storage(self) -> str:
        """The repository's folder in the cache."""
        cache = self.cache_dir or _library().HF_HUB_CACHE
        return hub_cache.repository_folder(cache, self.repo_type, self.repo_id)

    def settle(self, transfers: Sequence[Transfer]) -> None:
        """Let the revision's name point to the commit, now that its files are in the cache.

        Raises:
            DiskError: the cache cannot be written.
        """
        if self.target_path is None and transfers:
            hub_cache.write_ref(self.storage(), self.revision, str(transfers[0].object.version))

    @classmethod
    def fetch_fields(cls, request: FetchRequest) -> dict[str, Any]:
        """See ``Task``; the file or the folder is named by ``fetch_want``."""
        url = request.url
        fields: dict[str, Any] = {"repo_id": url.container, "files": ()}
        if isinstance(url, HubUrl):
            if url.repo_type != "model":
                fields["repo_type"] = url.repo_type
            if url.revision is not None:
                fields["revision"] = url.revision
        if request.target is not None:
            fields["target_path"] = request.target
        return fields

    def fetch_want(self, want: Want, request: FetchRequest) -> Want:
        """See ``Task``: the file or the folder of the repository, at the target itself."""
        url, target = request.url, request.target
        if url.path or url.glob or request.of_item:
            if self.allow_patterns or self.ignore_patterns:
                raise ConfigError(
                    "fetch: allow_patterns and ignore_patterns are for a whole repository; give a "
                    "glob in the URL and exclude"
                )
            want = replace(want, selection=request_selection(request))
        if target is None or request.root is None:
            return want
        if request.is_file:
            if self.prune or self.ready_file or self.publish == "snapshot":
                raise ConfigError("fetch: prune, ready_file and publish: snapshot are for a folder")
            return replace(want, placement=At(target, request.root))
        return replace(want, placement=under(self, target, request.root, url.path))

    def fetched_path(self, request: FetchRequest, items: Sequence[Item]) -> str:
        """See ``Task``; in the cache, the file's link or the folder in the snapshot.

        Raises:
            NotFoundError: nothing matched, so there is no folder.
        """
        if request.target is not None:
            return request.target
        if not items:
            raise NotFoundError("nothing matches, so there is no folder")
        if request.is_file:
            return items[0].target
        # hf://owner/repo@commit/key
        key = items[0].source.partition("@")[2].partition("/")[2]
        return items[0].target.removesuffix(key.removeprefix(request.url.path))


def _library() -> ModuleType:
    """The Hub library's settings; only runs that use the Hub load them."""
    with loading():
        from huggingface_hub import constants  # noqa: PLC0415

    return constants
