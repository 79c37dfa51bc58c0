"""Every other protocol that fsspec has a filesystem for: https, sftp, ftp, file and others."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from fsspec.registry import known_implementations
from msgspec.structs import replace
from pydantic import AfterValidator, Field, Secret
from pydantic_core import PydanticCustomError

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.files.placement import WithoutQuery
from kaiwo.jobs import Want
from kaiwo.loading import loading
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.web_urls import fault_of_address, is_web, service_of, web_name
from kaiwo.objects import Folder
from kaiwo.protocols import Source
from kaiwo.tasks.base import Context, Location, Task, TaskOpener
from kaiwo.tasks.fetch_request import FetchRequest
from kaiwo.tasks.items import (
    FileItem,
    FolderItem,
    Item,
    globs_not_meant,
    selected,
)
from kaiwo.tasks.registry import SCHEMES, type_of_scheme
from kaiwo.tasks.secrets import SecretFile
from kaiwo.tasks.targets import named_target, snapshot_target

#: Schemes of the other task types, which know how to sign in and what to verify.
_OTHERS = SCHEMES | {"s3a": "s3"}
#: What a URL may say of the user, percent-encoded.
_USER_INFO = {"username", "user", "password"}
#: A key of the web may end in a query, which the user's glob says nothing of.
_ANY_QUERY = "[?]*"


def _of_other_protocols(item: FolderItem | FileItem) -> FolderItem | FileItem:
    """Refuse what is no URL, and the URLs of other task types."""
    address = _address(item)
    scheme, separator, _ = address.lower().partition("://")
    fault = None
    if not separator:
        fault = "each file or folder must be a URL"
    elif scheme in _OTHERS:
        fault = f"{scheme}:// has a separate task type: {_OTHERS[scheme]}"
    elif scheme not in known_implementations:
        fault = _unknown(scheme)
    elif found := fault_of_address(address):
        fault = f"the URL has {found}"
    elif is_web(address) and isinstance(item, FolderItem) and urlsplit(address).query:
        fault = "the URL of a folder on the web must have no '?'"
    if fault:
        raise PydanticCustomError("url", "{fault}", {"fault": fault})
    return item


def _unknown(scheme: str) -> str:
    """Why a protocol is none of fsspec's: a task type of another package may be meant."""
    try:
        type_ = type_of_scheme(scheme)
    except ConfigError as error:
        return error.message
    if type_ is None:
        return f"fsspec does not know the protocol {scheme}://"
    return f"{scheme}:// has a separate task type: {type_}"


def _address(item: FolderItem | FileItem) -> str:
    return item.folder if isinstance(item, FolderItem) else item.file


def _split(address: str) -> tuple[str, str]:
    """The URL of a file's folder, without the slash at its end, and the file's name in it.

    On the web, the query is part of the name, and the name may be empty: a server may answer the
    folder's own URL with a document.
    """
    if not is_web(address):
        base, _, name = address.rstrip("/").rpartition("/")
        return base, name
    path, mark, query = address.partition("?")
    host = path.find("/", path.find("://") + 3)
    if host < 0:
        return path, f"{mark}{query}"
    base, _, name = path.rpartition("/")
    return base, f"{name}{mark}{query}"


def _with_file_name(item: FileItem) -> FileItem:
    """The item with the path of a file as its target, also where that is a folder."""
    if not item.target_path.endswith("/"):
        return item
    own_name = posixpath.basename(web_name(item.file).rstrip("/"))
    return item.model_copy(update={"target_path": item.target_path + own_name})


def _with_queries(globs: tuple[str, ...]) -> tuple[str, ...]:
    """The globs, and each with any query after it."""
    return (*globs, *(f"{glob}{_ANY_QUERY}" for glob in globs if not glob.endswith("**")))


class UrlTask(Task):
    """Files of any other fsspec protocol."""

    type: Literal["url"] = Field("url", description="The task type.")
    options: Secret[dict[str, Any]] | None = Field(
        None, description="Options of the filesystem, named as in fsspec's documentation."
    )
    options_file: SecretFile | None = Field(
        None, description="File with the options, as YAML or JSON."
    )
    items: tuple[Annotated[Item, AfterValidator(_of_other_protocols)], ...] = Field(
        min_length=1, description="Folders and files, each with a whole URL."
    )

    @property
    def origin(self) -> str:
        """See ``Task``; the URL of each item says where it is."""
        return "url"

    def url(self, container: str, key: str = "") -> str:
        """See ``Task``; a query may be a signature."""
        return redact.url(container + key)

    def wants(self, context: Context) -> Iterator[Want]:
        """See ``Task``."""
        for index, item in enumerate(self.items):
            bare = self.model_copy(update={"items": (item,)})
            scheme, _, rest = _address(item).partition("://")
            address = f"{scheme.lower()}://{rest}"
            relative: FolderItem | FileItem
            if isinstance(item, FolderItem):
                base = address.rstrip("/")
                relative = item.model_copy(update={"folder": ""})
            else:
                base, name = _split(address)
                relative = _with_file_name(item).model_copy(update={"file": name})
            opener = TaskOpener(
                bare, f"{base}/", context.network, self.origin, host=service_of(address)
            )
            selection, placement = selected(relative, context.download_root)
            if is_web(address) and isinstance(selection, Folder):
                selection = replace(
                    selection,
                    globs=_with_queries(selection.globs),
                    exclude=_with_queries(selection.exclude),
                )
                placement = WithoutQuery(placement)
            where = context.where(("items", index))
            yield Want(self.label, where, opener, selection, placement, item.allow_empty)

    def named_targets(self, download_root: str) -> Iterator[tuple[Location, str, str]]:
        """See ``Task``."""
        for index, item in enumerate(self.items):
            if isinstance(item, FileItem):
                target = named_target(_with_file_name(item), download_root)
                if target is not None:
                    yield ("items", index, "target_path"), item.file, target

    def snapshots(self, download_root: str) -> Iterator[tuple[Location, str]]:
        """See ``Task``."""
        for index, item in enumerate(self.items):
            if (target := snapshot_target(item, download_root)) is not None:
                yield ("items", index, "target_path"), target

    def globs_not_meant(self) -> Iterator[tuple[Location, str, str]]:
        """See ``Task``."""
        for index, item in enumerate(self.items):
            for inner, fault, hint in globs_not_meant(item):
                yield ("items", index, *inner), fault, hint

    @classmethod
    def fetch_fields(cls, request: FetchRequest) -> dict[str, Any]:
        """See ``Task``."""
        return {"items": [request.item()]}

    def source(self, container: str, network: NetworkSettings) -> Source:
        """See ``Task``."""
        if is_web(container):
            return self._web_source(container, network)
        with loading():
            from kaiwo.sources.fsspec import FsspecSource  # noqa: PLC0415 - as above

            kind = self._filesystem_class(container)
        given = self._options()
        named, mark, rest = container.partition("?")  # which is a letter of the name
        try:
            # Not by fsspec's ``url_to_fs``, which takes ``::`` for a chain of filesystems.
            from_url = kind._get_kwargs_from_urls(named)  # noqa: SLF001 - as that does
            path = f"{kind._strip_protocol(named)}{mark}{rest}"  # noqa: SLF001
        except (TypeError, ValueError, AttributeError):
            raise ConfigError(
                f"{self.url(container)}: its filesystem does not take this URL"
            ) from None
        for name in _USER_INFO & from_url.keys():
            from_url[name] = unquote(from_url[name])
        shown = self.url(container)

        def make() -> Any:
            try:
                return kind(skip_instance_cache=True, **{**from_url, **given})
            except (TypeError, AttributeError, ValueError):
                # The text may quote a value.
                names = ", ".join(sorted(given)) or "none"
                raise ConfigError(
                    f"{shown}: its filesystem does not accept the options that are given ({names})"
                ) from None

        return FsspecSource(make, path, shown, network)

    def _filesystem_class(self, container: str) -> Any:
        from fsspec import get_filesystem_class  # noqa: PLC0415 - only runs that use it load it

        scheme = container.partition("://")[0]
        try:
            return get_filesystem_class(scheme)
        except (ImportError, ValueError):
            said = known_implementations.get(scheme, {}).get("err")
            hint = f": {said}" if said else "; see fsspec's documentation of it"
            raise ConfigError(
                f"{self.url(container)}: a package that {scheme}:// needs is not installed{hint}"
            ) from None

    def _web_source(self, container: str, network: NetworkSettings) -> Source:
        with loading():
            from kaiwo.sources.web import options  # noqa: PLC0415 - only runs that use it load it
            from kaiwo.sources.web.source import WebSource  # noqa: PLC0415

        return WebSource(
            container,
            self.url(container),
            options.parse(
                self._options(),
                network,
                self.ca_bundle,
                (self.client_certificate, self.client_key),
            ),
            self._target_name(),
            allow_partial=any(isinstance(i, FolderItem) and i.allow_partial for i in self.items),
        )

    def _target_name(self) -> str:
        """The name that the target of the only item gives its file; empty if it gives none."""
        (item,) = self.items
        if isinstance(item, FolderItem) or urlsplit(_address(item)).path in ("", "/"):
            return ""  # fetch names the page of a host like the host, which is no extension
        return posixpath.basename(item.target_path)

    def _options(self) -> dict[str, Any]:
        if self.options is not None:
            return self.options.get_secret_value()
        text = self.secret("options")
        return {} if text is None else _parsed(text)


def _parsed(text: str) -> dict[str, Any]:
    """The options in a file: JSON, or YAML, which takes most of JSON but not all.

    Raises:
        ConfigError: it is neither, or no mapping.
    """
    import yaml  # noqa: PLC0415 - few tasks have such a file

    try:
        options = json.loads(text)
    except ValueError:
        try:
            options = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            # The reason would quote the file.
            raise ConfigError("options_file holds neither YAML nor JSON") from None
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise ConfigError("options_file does not hold a mapping: names and values of options")
    return options
