"""What all task types share: fields, secrets, items, and the way from a task to its wants.

A task is what the user wrote, validated and frozen. It touches neither network nor secret files
until ``check`` and ``open``; a secret is read where it is used, so that a job that travels to
another process carries the file's path, not its content.
"""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from kaiwo.errors import ConfigError
from kaiwo.listing import glob_pattern
from kaiwo.network import Network
from kaiwo.objects import Folder, Named, Transfer, Want
from kaiwo.protocols import Placement, Source
from kaiwo.targets import At, Under, fault_of, resolve

Text = Annotated[str, StringConstraints(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
#: Where in the file: keys and indices from a task downwards.
Location = tuple[str | int, ...]


def _require_inside(target_path: str) -> str:
    if "\0" in target_path:
        raise PydanticCustomError("target", "holds a NUL character")
    if ".." in target_path.split("/"):
        raise PydanticCustomError("target", "'..' would climb out of the download root")
    return target_path


def _require_http(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        raise PydanticCustomError("endpoint", "has to begin with http:// or https://")
    return address


def _require_glob(glob: str) -> str:
    try:
        glob_pattern(glob)
    except ValueError as error:
        raise PydanticCustomError("glob", "'**' has to be a whole path component") from error
    return glob


class Model(BaseModel):
    """Frozen, strict about keys, silent about values."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


class _Item(Model):
    target_path: Text
    """Where it goes: below the download root, or absolute."""
    allow_empty: bool = False
    """Nothing matched is no error."""

    @field_validator("target_path")
    @classmethod
    def _inside(cls, value: str) -> str:
        return _require_inside(value)


class FolderItem(_Item):
    """Every file below a folder that matches a glob."""

    folder: str
    """The folder; empty, ``.`` or ``/`` is the whole bucket."""
    glob: Text = "**/*"
    """fsspec glob, matched against the key relative to the folder."""

    @field_validator("glob")
    @classmethod
    def _translatable(cls, value: str) -> str:
        return _require_glob(value)

    @property
    def prefix(self) -> str:
        """What all its keys begin with: empty, or ending in ``/``."""
        folder = self.folder.strip("/")
        return "" if folder in ("", ".") else f"{folder}/"


class FileItem(_Item):
    """One object."""

    file: Text
    """Its key."""

    @field_validator("file")
    @classmethod
    def _is_file(cls, value: str) -> str:
        if value.endswith("/"):
            raise PydanticCustomError("file", "ends in '/': give it as a folder")
        return value


def _item_kind(value: Any) -> str | None:
    if isinstance(value, FolderItem):
        return "folder item"
    if isinstance(value, FileItem):
        return "file item"
    if not isinstance(value, Mapping) or ("folder" in value) == ("file" in value):
        return None
    return "folder item" if "folder" in value else "file item"


def _flat(value: Any) -> Any:
    """An item in its nested form, ``folder: {folder: …}``, in the flat one."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((key, inner),) = value.items()
        if key in ("folder", "file") and isinstance(inner, Mapping):
            return inner
    return value


Item = Annotated[
    Annotated[FolderItem, Tag("folder item")] | Annotated[FileItem, Tag("file item")],
    Discriminator(
        _item_kind,
        custom_error_type="item",
        custom_error_message="an item has either 'folder' or 'file', and a 'target_path'",
    ),
    BeforeValidator(_flat),
]


class Bucket(Model):
    """A bucket or container and what is wanted from it."""

    name: Text
    """Its name."""
    items: tuple[Item, ...] = Field(min_length=1)
    """Folders and files."""

    @field_validator("name")
    @classmethod
    def _one_name(cls, value: str) -> str:
        if "/" in value:
            raise PydanticCustomError("bucket", "is a bucket's name; a folder goes into an item")
        return value


@dataclass(frozen=True, slots=True)
class Context:
    """What a task has to know of the run.

    Attributes:
        download_root: absolute path.
        network: how connections behave.
        where: file, line and field of a location in this task, for errors.
    """

    download_root: str
    network: Network
    where: Callable[[Location], str]


@dataclass(frozen=True, slots=True)
class TaskOpener:
    """Opens a task's bucket in whatever worker needs it.

    Two openers are the same only if one is a copy of the other, so that neither credentials nor
    listings are ever shared between tasks.
    """

    task: Task = field(compare=False)
    container: str = field(compare=False)
    network: Network = field(compare=False)
    #: See ``protocols.Opener``.
    origin: str = field(compare=False)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def open(self) -> Source:
        """See ``protocols.Opener``."""
        return self.task.source(self.container, self.network)

    def url(self, key: str) -> str:
        """See ``protocols.Opener``."""
        return self.task.url(self.container) + key


class Task(Model):
    """One entry of ``download_items``."""

    type: str
    """Which kind of task."""
    name: Text | None = None
    """For people and logs."""
    ca_bundle: Text | None = None
    """PEM file of the certificates to trust instead of the system's."""

    @property
    def label(self) -> str:
        """The name, or the type of a nameless task."""
        return self.name or self.type

    @property
    @abstractmethod
    def origin(self) -> str:
        """The service, without secrets: what distinguishes two of the same bucket."""

    @abstractmethod
    def url(self, container: str) -> str:
        """The container's URL, ending in ``/``, without secrets."""

    @abstractmethod
    def source(self, container: str, network: Network) -> Source:
        """Resolve the credentials and connect."""

    @abstractmethod
    def wants(self, context: Context) -> Iterator[Want]:
        """What the task asks for, each with its opener."""

    def settle(self, transfers: Sequence[Transfer]) -> None:
        """All objects of this task are in place; do what remains."""

    def check(self) -> Iterator[tuple[str, str]]:
        """The fields of which no secret can be read, and why; nothing goes over the network."""
        for name in type(self).model_fields:
            if name.endswith("_file") and getattr(self, name) is not None:
                try:
                    read_secret(getattr(self, name))
                except ConfigError as error:
                    yield name, error.message
        if self.ca_bundle is not None:
            try:
                read_secret(self.ca_bundle)
            except ConfigError as error:
                yield "ca_bundle", error.message

    def secret(self, name: str) -> str | None:
        """The value of a field that is given directly or, as ``<name>_file``, in a file.

        Raises:
            ConfigError: the file cannot be read, or is empty.
        """
        value = getattr(self, name)
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if value is not None:
            return str(value)
        path = getattr(self, f"{name}_file")
        return None if path is None else read_secret(path)

    def given(self, name: str) -> bool:
        """Whether a field is given, directly or as a file."""
        return getattr(self, name) is not None or getattr(self, f"{name}_file", None) is not None

    @field_validator("*")
    @classmethod
    def _one_form(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        direct = name.removesuffix("_file")
        if direct != name and value is not None and info.data.get(direct) is not None:
            raise PydanticCustomError("both", f"give either {direct} or {name}, not both")
        if name == "endpoint_url" and value is not None:
            return _require_http(str(value))
        if name == "target_path" and value is not None:
            return _require_inside(value)
        return value


class ObjectStoreTask(Task):
    """A task that names buckets and, in each, items."""

    #: What the service calls its buckets: the name of the field that holds them.
    holder: ClassVar[str] = "buckets"
    #: Fields that are credentials; ``anonymous`` excludes them.
    credentials: ClassVar[tuple[str, ...]] = ()

    anonymous: bool = False
    """Public data: send no credentials, look for none."""

    @model_validator(mode="after")
    def _anonymous_alone(self) -> Self:
        given = [name for name in self.credentials if self.given(name)]
        if self.anonymous and given:
            raise PydanticCustomError(
                "anonymous", f"anonymous: true and {given[0]} exclude each other"
            )
        return self

    def wants(self, context: Context) -> Iterator[Want]:
        """See ``Task``."""
        held: tuple[Bucket, ...] = getattr(self, self.holder)
        # What travels with every job should not carry the whole list of items.
        bare = self.model_copy(update={self.holder: ()})
        origin = self.origin
        for number, bucket in enumerate(held):
            opener = TaskOpener(bare, bucket.name, context.network, origin)
            for index, item in enumerate(bucket.items):
                where = context.where((self.holder, number, "items", index))
                selection, placement = selected(item, context.download_root)
                yield Want(self.label, where, opener, selection, placement, item.allow_empty)


def selected(item: FolderItem | FileItem, download_root: str) -> tuple[Folder | Named, Placement]:
    """Which objects an item means, and where they go.

    A file's target that ends in ``/`` is the folder to put it in.
    """
    if isinstance(item, FolderItem):
        folder, root = resolve(item.target_path, download_root, is_file=False)
        return Folder(item.prefix, (item.glob,)), Under(folder, root, item.prefix)
    target = item.target_path
    if target.endswith("/"):
        target += file_name(item.file)
    path, root = resolve(target, download_root, is_file=True)
    return Named((item.file,)), At(path, root)


def require_endpoint(address: str) -> str:
    """The address, if it can be one; a secret file's content has not been looked at before.

    Raises:
        ConfigError: it begins with neither ``http://`` nor ``https://``.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError("endpoint_url has to begin with http:// or https://")
    return address


def file_name(key: str) -> str:
    """The last segment of a key, as the name of a file.

    Raises:
        ConfigError: it can be none.
    """
    name = key.rpartition("/")[2]
    if fault := fault_of(name):
        raise ConfigError(f"{key!r} cannot name a file ({fault}): give target_path a file name")
    return name


def read_secret(path: str) -> str:
    """The content of a secret file, without its trailing newline.

    Raises:
        ConfigError: it cannot be read, is no text, or is empty.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = file.read().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is not text") from error
    if not content.strip():
        raise ConfigError(f"{path} is empty")
    return content
